// The span processor: an ended span is in the mailbox before onEnd returns. For @opentelemetry/sdk-trace-base
// 1.x and 2.x and sdk-trace; one for each provider. Nothing to flush, nothing to shut down: spans that end
// after a provider's shutdown (an SDK that listens to SIGTERM does that while requests are being answered)
// are written, too.
//
// Where something of the program's stands between its spans and an OTLP exporter, what comes out there is
// written, not what goes in (outlets.js).
'use strict';

const { runtime } = require('./runtime');
const { speaks, note } = require('./outlets');

const kSampled = 1;

let failed = false;

class MailboxSpanProcessor {
  constructor() {
    this.runtime = runtime();
    this.outlets = undefined; // of the provider, as soon as it is known
  }

  // As one of a program's own behind something of the program's, it writes what it is given.
  isOn() {
    return this.outlets ? this.outlets.isOn() : speaks(this) !== false;
  }

  isSampled(span) {
    return (span.spanContext().traceFlags & kSampled) !== 0;
  }

  onStart(span) {
    try {
      if (!this.isSampled(span) || !this.isOn()) return;
      this.runtime.started(span);
      note(span, true); // others may export it before our onEnd
    } catch (error) {
      this.fail(error);
    }
  }

  onEnd(span) {
    try {
      if (!this.isSampled(span)) return;
      if (this.isOn()) {
        this.runtime.ended(span);
        note(span, true);
      } else {
        this.runtime.withhold(span);
        note(span, false);
      }
    } catch (error) {
      this.fail(error);
    }
  }

  // Telemetry never throws into the program; what fails is said once.
  fail(error) {
    ++this.runtime.dropped;
    if (failed) return;
    failed = true;
    process.emitWarning(`a span was not written, ignoring: ${error && error.message}`, 'RunmainWarning');
  }

  forceFlush() {
    return Promise.resolve();
  }

  shutdown() {
    return Promise.resolve();
  }
}

module.exports = { MailboxSpanProcessor };
