// The one state of this process: the claim, where spans go, who asked for what. All copies of this package in
// a process share it (a preloaded one and one in node_modules).
//
// Invariant: spans that end before the claim is answered wait, bounded, and are written with the grant or
// dropped with the refusal; listen.js holds the service's connections until then. Where nothing listens they
// claim by themselves. Worker threads have a runtime each, which never claims: it writes where the main
// thread does, in a lane of its own, and by HTTP if it was there before the claim.
'use strict';

const { isMainThread, threadId, setEnvironmentData, getEnvironmentData } = require('node:worker_threads');
const { readToken, ownToken, heldBy, heldNonce, isClusterWorker } = require('./environment');

// Loaded with the first claim or span: most processes never have one.
const later = {
  get mailbox() {
    return require('./mailbox');
  },
  get encoder() {
    return require('./encoder');
  },
  get wire() {
    return require('./wire');
  },
};

const kKey = Symbol.for('runmain.runtime.1');
const kGiven = 'runmain.mailbox.1'; // environment data of worker threads
const kWaitingMax = 2048; // spans before the claim is answered
const kOpenMax = 2048; // … and of open ones
const kHandedMax = 128 << 10; // bytes of a request of several spans; a record has room for twice that
const kLanesMax = 4; // resources that get a lane of their own
const kHeldMax = 4 << 20; // bytes of metrics and logs before the claim is answered
const kImplicitAfterMs = 1000; // that spans wait for a listen, before they claim
const kServer = 1; // SpanKind
const kAtEndMs = 300; // that a process that ends waits for the answer to its claim …
const kAtEndHeldMs = 20; // … and then for what was held meanwhile to be answered
const kScopesCached = 4096;

class Runtime {
  constructor(env) {
    this.env = env;
    this.isExecuted = heldNonce(env) !== undefined; // by ourselves, with the role
    this.token = ownToken(env);
    this.supervised = this.token !== undefined;
    this.telemetry = this.supervised && env.RUNMAIN_AUTO !== undefined;
    this.auto = env.RUNMAIN_AUTO === '1';
    this.clusterWorker = this.supervised && isMainThread && isClusterWorker();
    // unclaimed, asking, granted, refused, unreachable; unsupervised processes serve without asking.
    // A helper of who has the role is refused without asking.
    this.state = !this.supervised ? 'granted' : this.token.wiped ? 'refused' : 'unclaimed';
    this.hasSockets = Boolean(env.SERVER_STARTER_PORT); // of runmain, but for UDP
    this.instanceId = env.RUNMAIN_INSTANCE_ID || '';
    if (this.clusterWorker) this.renewInstance();
    this.waiting = [];
    this.heldBytes = 0;
    this.hasServed = false; // a server's span waits
    this.isLate = false; // something has waited for long enough
    this.insisted = false; // has claimed explicitly
    this.hasListened = false; // on the service's address
    this.isHanded = false; // by the parent: a socket
    this.stopWatching = undefined;
    this.open = new Map(); // span → { lane, slot }
    this.lanes = new Map(); // resource → lane
    this.mailbox = undefined;
    this.receiver = undefined;
    this.channel = undefined;
    this.dropped = 0; // spans that found no place at all
    this.drains = [];
    this.afterClaim = []; // run when the claim is answered, whatever the answer
    this.sdk = { core: undefined, api: undefined }; // as the hooks have seen them loaded
    this.writer = undefined;
    if (!isMainThread && this.supervised) this.followMain();
  }

  followMain() {
    const given = getEnvironmentData(kGiven);
    if (!given && this.token.wiped) return; // a helper's thread
    if (given && given.path && this.telemetry) this.mailbox = later.mailbox.Mailbox.open(given.path, given.claim);
    this.state = 'granted';
    this.writing = true;
  }

  // Resources are made of the environment; a worker of a cluster is an instance of its own.
  renewInstance() {
    this.instanceId = require('node:crypto').randomUUID();
    this.env.RUNMAIN_INSTANCE_ID = this.instanceId;
    const attributes = this.env.OTEL_RESOURCE_ATTRIBUTES;
    if (attributes === undefined) return;
    const others = attributes.split(',').filter((pair) => pair && !pair.trim().startsWith('service.instance.id='));
    this.env.OTEL_RESOURCE_ATTRIBUTES = [...others, `service.instance.id=${this.instanceId}`].join(',');
  }

  // Nothing that `fn` does is traced.
  quietly(fn) {
    const { core, api } = this.sdk;
    if (!core || !api || !core.suppressTracing) return fn();
    return api.context.with(core.suppressTracing(api.ROOT_CONTEXT), fn);
  }

  get serving() {
    return this.state === 'granted';
  }

  // Claims once; later calls get the same answer. Resolves with whether this process serves.
  claim(explicit) {
    if (this.claiming) return this.claiming;
    if (!this.supervised || !isMainThread) return Promise.resolve(this.serving);
    this.insisted = explicit || this.isOneOfSeveral();
    if (this.token.wiped || !this.env.RUNMAIN_CHANNEL) {
      this.answered({ state: 'refused', why: 'the token is another process\'s' });
      return Promise.resolve(false);
    }
    this.state = 'asking';
    const { Channel } = require('./channel');
    this.channel = new Channel({ onDrain: (budget) => this.drain(budget) });
    this.children = require('./children'); // with the grant its file may be out of reach
    if (this.telemetry) this.watchEnd();
    this.claiming = new Promise((resolve) => {
      const answered = (answer) => {
        if (this.stopWatching) this.stopWatching();
        if (answer.state !== 'granted') this.claiming = undefined; // asking again is allowed
        this.answered(answer);
        resolve(this.serving);
      };
      this.quietly(() =>
        this.channel.claim(this.env.RUNMAIN_CHANNEL, this.token.nonce, this.insisted, answered),
      );
    });
    return this.claiming;
  }

  // Others of this child may have the role, too: its parent, or the other workers of its cluster.
  isOneOfSeveral() {
    return this.clusterWorker || this.isHanded;
  }

  // A job or a consumer never listens, and some servers are handed their connections, or listen where nobody
  // has told runmain of: what waits claims. In a service whose sockets runmain has, only a server's spans do.
  claimByTheWay() {
    if (this.state !== 'unclaimed' || (this.hasSockets && !this.hasServed) || isPrimary()) return;
    this.claim(false);
  }

  // What ends the process while something waits claims, if nothing has, and waits for the answer a little.
  watchEnd() {
    if (this.stopWatching) return;
    const timer = setTimeout(() => {
      this.isLate = true;
      this.claimByTheWay();
    }, kImplicitAfterMs).unref();
    const atEnd = () => this.atEnd();
    process.on('beforeExit', atEnd); // here it may still go by HTTP
    process.on('exit', atEnd);
    const { delaySignals } = require('./signals');
    const stop = delaySignals((ended) => this.atSignal(ended));
    this.stopWatching = () => {
      this.stopWatching = undefined;
      clearTimeout(timer);
      process.removeListener('beforeExit', atEnd);
      process.removeListener('exit', atEnd);
      stop();
    };
  }

  atEnd() {
    if (this.waiting.length === 0) return;
    this.claimByTheWay();
    if (this.state === 'asking') this.channel.readNow(kAtEndMs);
  }

  atSignal(ended) {
    this.claimByTheWay();
    if (this.state !== 'asking') return ended();
    this.afterClaim.push(() => setTimeout(ended, kAtEndHeldMs));
    return setTimeout(ended, kAtEndMs);
  }

  // The parent has the role, and hands a socket: we may ask, too. False: we could before.
  takeToken(text) {
    const token = readToken(text);
    if (!this.token.wiped || !token || token.wiped) return false;
    this.env.RUNMAIN_TOKEN = text;
    this.token = token;
    this.state = 'unclaimed';
    return true;
  }

  answered(answer) {
    this.state = answer.state;
    this.why = answer.why;
    this.role = answer.role;
    if (this.serving) this.safely(() => this.granted(answer.mailbox));
    else if (answer.state === 'unreachable' && this.telemetry) this.writeWaiting(); // by HTTP: it may have changed its user
    else this.dropWaiting();
    const { afterClaim } = this;
    this.afterClaim = [];
    for (const fn of afterClaim) this.safely(fn);
  }

  granted(mailbox) {
    const given = mailbox && this.telemetry ? { path: String(mailbox.path), claim: Number(mailbox.claim) || 0 } : {};
    if (given.path) this.mailbox = later.mailbox.Mailbox.open(given.path, given.claim);
    setEnvironmentData(kGiven, given);
    if (this.mailbox && this.isExecuted) this.mailbox.closeLanesOfBefore();
    if (this.mailbox) this.mailbox.takeInstance();
    if (this.mailbox && this.mailbox.claim > 0 && !this.clusterWorker) this.renewInstance();
    // What helpers of this process find is void (docs/contract.md).
    if (this.role) {
      this.env.RUNMAIN_HELD = heldBy(this.token.nonce);
      this.env.RUNMAIN_TOKEN = this.children.hide(this.env.RUNMAIN_TOKEN);
    }
    this.writeWaiting();
  }

  dropWaiting() {
    this.dropped += this.waiting.filter(({ request }) => !request).length;
    this.waiting = [];
    this.heldBytes = 0;
    this.open.clear();
  }

  writeWaiting() {
    this.writing = true;
    const { waiting, open } = this;
    this.waiting = [];
    this.open = new Map();
    for (const { span } of waiting.filter((one) => one.span)) this.safely(() => this.write(span));
    for (const span of open.keys()) this.safely(() => this.started(span));
    this.safely(() => this.handNow(waiting.flatMap(({ handed }) => handed || [])));
    this.heldBytes = 0;
    const requests = waiting.flatMap(({ request }) => request || []);
    for (const { signal, bytes } of requests) this.safely(() => this.request(signal, bytes));
    if (this.dropped > 0 && this.lanes.size > 0) {
      [...this.lanes.values()][0].lose(later.mailbox.kLost.notServing, this.dropped);
      this.dropped = 0;
    }
  }

  // Within a turn of the event loop that is nobody's: what is thrown there ends the program. Told once.
  safely(fn) {
    try {
      fn();
    } catch (error) {
      if (!this.hasFailed) process.emitWarning(`not written, ignoring: ${error && error.message}`, 'RunmainWarning');
      this.hasFailed = true;
    }
  }

  // ---- spans

  laneOf(resource) {
    const known = this.lanes.get(resource);
    if (known !== undefined) return known;
    if (this.lanes.size >= kLanesMax) return this.lanes.values().next().value;
    const attributes = { ...((resource && resource.attributes) || {}) };
    if (this.instanceId) attributes['service.instance.id'] = this.instanceId;
    const w = new later.wire.Writer(64 << 10);
    try {
      later.encoder.putResource(w, attributes);
    } catch (error) {
      if (!(error instanceof later.wire.TooBig)) throw error;
      w.at = 0;
    }
    const lane = this.mailbox.takeLane(w.bytes.subarray(0, w.at), isMainThread ? process.pid : threadId, threadId);
    const other = lane || this.lanes.values().next().value; // none is free: not asked for again
    if (other) this.lanes.set(resource, other);
    else this.mailbox = undefined; // by HTTP
    if (lane && resource && resource.asyncAttributesPending) this.renewWhenSettled(resource);
    return other;
  }

  // Detectors (a host's id, a cloud) may answer late. No span waits for them: the ones before are in a lane
  // that does not have what they say, later ones in another.
  renewWhenSettled(resource) {
    const before = JSON.stringify(resource.attributes);
    const settled = () => {
      if (JSON.stringify(resource.attributes) !== before) this.lanes.delete(resource);
    };
    this.quietly(() => resource.waitForAsyncAttributes()).then(settled, settled);
  }

  scopeNumber(lane, span) {
    const scope = later.encoder.scopeOf(span);
    let number = lane.scopes.get(scope); // the object of a tracer
    if (number !== undefined) return number;
    const key = `${scope.name}@${scope.version || ''}:${scope.schemaUrl || ''}`;
    number = later.mailbox.kScopeLost;
    this.safely(() => (number = lane.scope(key, scope.schemaUrl, (w) => later.encoder.putScope(w, scope))));
    if (lane.scopes.size < kScopesCached) lane.scopes.set(scope, number);
    return number;
  }

  started(span) {
    if (!this.writing) {
      if (this.state !== 'refused' && this.open.size < kOpenMax) this.open.set(span, undefined);
      return;
    }
    if (!this.mailbox) return;
    const lane = this.laneOf(span.resource);
    if (!lane) return;
    const remote = span.parentSpanContext && span.parentSpanContext.isRemote;
    const flags = later.encoder.flagsOf(span.spanContext().traceFlags, remote);
    const slot = lane.open(span, this.scopeNumber(lane, span), later.encoder.parentOf(span), flags);
    this.open.set(span, { lane, slot });
  }

  ended(span) {
    if (this.writing) return this.write(span);
    this.open.delete(span);
    return this.wait({ span }, span.kind);
  }

  // False: there is no room, or no hope.
  wait(item, kind) {
    const waits = this.state === 'unclaimed' || this.state === 'asking';
    if (!waits || this.waiting.length >= kWaitingMax) {
      if (!item.request) ++this.dropped;
      return false;
    }
    this.waiting.push(item);
    if (kind === kServer) this.hasServed = true;
    this.watchEnd();
    if (this.isLate || (this.hasServed && this.isHanded)) this.claimByTheWay();
    return true;
  }

  // A span that is not to be seen as it is. One that began before that was known is counted as lost.
  withhold(span) {
    if (!this.open.has(span)) return;
    const opened = this.open.get(span);
    this.open.delete(span);
    if (opened) opened.lane.withhold(opened.slot);
    else ++this.dropped;
  }

  write(span) {
    if (!this.mailbox) return this.sendSpan(span);
    const opened = this.open.get(span);
    this.open.delete(span);
    const lane = opened ? opened.lane : this.laneOf(span.resource);
    if (!lane) return this.sendSpan(span);
    if (!opened) lane.add(1); // its start was not counted
    const isWritten = lane.span(this.scopeNumber(lane, span), later.encoder.putSpan, span);
    if (opened && opened.slot >= 0) lane.close(opened.slot, isWritten);
    return undefined;
  }

  sendSpan(span) {
    const item = this.encodeHanded(span); // counts one that is too big
    if (!item) return;
    const bytes = this.requestOf([item]);
    if (bytes === undefined || !this.http().send(0, bytes)) ++this.dropped;
  }

  // ---- spans as a program's own exporter or processor has made them

  // Encoded at once: who has masked them may take that back.
  hand(spans) {
    const items = spans.flatMap((span) => this.encodeHanded(span) || []);
    if (this.writing) return this.handNow(items);
    for (const handed of items) this.wait({ handed }, handed.kind);
    return undefined;
  }

  encodeHanded(span) {
    const w = (this.writer = this.writer || new later.wire.Writer(256 << 10));
    w.at = 0;
    try {
      later.encoder.putSpan(w, span);
    } catch (error) {
      if (!(error instanceof later.wire.TooBig)) throw error;
      ++this.dropped;
      return undefined;
    }
    const { resource, kind } = span;
    return { resource, kind, scope: later.encoder.scopeOf(span), bytes: Buffer.from(w.bytes.subarray(0, w.at)) };
  }

  // As few requests as there may be.
  handNow(items) {
    if (items.length === 0) return;
    const bytes = this.requestOf(items);
    if (items.length > 1 && (bytes === undefined || bytes.length > kHandedMax)) {
      const half = items.length >> 1;
      this.handNow(items.slice(0, half));
      this.handNow(items.slice(half));
    } else if (bytes === undefined || !this.request(0, bytes)) {
      this.dropped += items.length;
    }
  }

  requestOf(items) {
    const w = (this.writer = this.writer || new later.wire.Writer(256 << 10));
    w.at = 0;
    try {
      putHanded(w, items, this.instanceId);
    } catch (error) {
      if (!(error instanceof later.wire.TooBig)) throw error;
      return undefined;
    }
    return w.bytes.subarray(0, w.at);
  }

  // There is neither a mailbox nor a receiver.
  isCutOff() {
    return Boolean(this.writing) && !this.mailbox && !this.http().usable;
  }

  http() {
    if (!this.receiver) {
      const { Receiver } = require('./receiver');
      this.receiver = new Receiver(this.env, (fn) => this.quietly(fn));
    }
    return this.receiver;
  }

  // An Export…ServiceRequest: 0 traces, 1 metrics, 2 logs. True: it is taken.
  request(signal, bytes) {
    if (this.state === 'refused') return true;
    if (!this.writing) return this.hold(signal, bytes);
    const lane = this.mailbox && (this.lanes.values().next().value || this.laneOf(undefined));
    if (lane && lane.request(signal, bytes)) return true;
    return this.http().send(signal, bytes);
  }

  hold(signal, bytes) {
    if (this.heldBytes + bytes.length > kHeldMax) return false;
    const waits = this.wait({ request: { signal, bytes: Buffer.from(bytes) } });
    if (waits) this.heldBytes += bytes.length;
    return waits;
  }

  // ---- the drain

  drain(budgetMs) {
    this.draining = true;
    const { drains } = this;
    if (drains.length === 0) return;
    this.drains = [];
    const all = drains.map((fn) => Promise.resolve().then(() => fn({ budgetMs })));
    Promise.allSettled(all).then((results) => {
      for (const result of results) {
        if (result.status === 'rejected') process.emitWarning(`onDrain: ${result.reason}`, 'RunmainWarning');
      }
      if (this.channel) this.channel.say({ drained: true });
      process.exit(process.exitCode || 0);
    });
  }
}

// Of a cluster: it starts the workers that serve. Only a fork, or what comes before it, says with which settings.
function isPrimary() {
  const cluster = require('node:cluster');
  return cluster.isPrimary && Object.keys(cluster.settings).length > 0;
}

function putResourceOf(w, of, instanceId) {
  const resource = w.begin(1);
  const attributes = { ...((of && of.attributes) || {}) };
  if (instanceId) attributes['service.instance.id'] = instanceId;
  later.encoder.putResource(w, attributes);
  w.end(resource);
}

function putScopeOf(w, of) {
  const scope = w.begin(1);
  later.encoder.putScope(w, of);
  w.end(scope);
}

// Spans in a row that have the same resource, and scope, are put together.
function putHanded(w, items, instanceId) {
  for (let i = 0; i < items.length; ) {
    const { resource } = items[i];
    const all = w.begin(1);
    putResourceOf(w, resource, instanceId);
    while (i < items.length && items[i].resource === resource) i = putScoped(w, items, i);
    w.end(all);
  }
}

function putScoped(w, items, i) {
  const { resource, scope } = items[i];
  const scoped = w.begin(2);
  putScopeOf(w, scope);
  for (; i < items.length && items[i].scope === scope && items[i].resource === resource; ++i) w.blob(2, items[i].bytes);
  if (scope.schemaUrl) w.text(3, scope.schemaUrl);
  w.end(scoped);
  return i;
}

function runtime() {
  if (!globalThis[kKey]) {
    Object.defineProperty(globalThis, kKey, { value: new Runtime(process.env), configurable: true });
    if (!globalThis[kKey].supervised) globalThis[kKey].writing = true;
  }
  return globalThis[kKey];
}

module.exports = { Runtime, runtime };
