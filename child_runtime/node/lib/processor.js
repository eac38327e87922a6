// The span processor: an ended span is in the mailbox before onEnd returns. For @opentelemetry/sdk-trace-base
// 1.x and 2.x and sdk-trace; one for the process. Nothing to flush, nothing to shut down: spans that end
// after a provider's shutdown (an SDK that listens to SIGTERM does that while requests are being answered)
// are written, too.
'use strict';

const { runtime } = require('./runtime');

const kSampled = 1;

class MailboxSpanProcessor {
  constructor() {
    this.runtime = runtime();
  }

  onStart(span) {
    try {
      if ((span.spanContext().traceFlags & kSampled) !== 0) this.runtime.started(span);
    } catch (error) {
      this.fail(error);
    }
  }

  onEnd(span) {
    try {
      if ((span.spanContext().traceFlags & kSampled) !== 0) this.runtime.ended(span);
    } catch (error) {
      this.fail(error);
    }
  }

  // Telemetry never throws into the program; what fails is said once.
  fail(error) {
    ++this.runtime.dropped;
    if (this.failed) return;
    this.failed = true;
    process.emitWarning(`a span was not written, ignoring: ${error && error.message}`, 'RunmainWarning');
  }

  forceFlush() {
    return Promise.resolve();
  }

  shutdown() {
    return Promise.resolve();
  }
}

let processor;

function mailboxProcessor() {
  processor = processor || new MailboxSpanProcessor();
  return processor;
}

module.exports = { MailboxSpanProcessor, mailboxProcessor };
