// No request is served before the claim is answered, and no span is lost that ended before.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const http2 = require('node:http2');
const https = require('node:https');
const net = require('node:net');
const path = require('node:path');
const { execFileSync } = require('node:child_process');
const { packages } = require('./packages');
const { Channel } = require('./channel');
const { readLane } = require('./mailbox_file');
const { get, until } = require('./runmain');

const kAfterMs = 400;
const kSaysPort = '.listen(0, "127.0.0.1", function () { console.log(this.address().port); })';
const kHandler = '(request, response) => response.end("served")';

// A server of the program, whose requests make spans in the current SDK.
function traced() {
  const file = path.join(packages('current'), 'x.js');
  return `
const load = require('node:module').createRequire(${JSON.stringify(file)});
const { BasicTracerProvider } = load('@opentelemetry/sdk-trace-base');
const tracer = new BasicTracerProvider().getTracer('a');
tracer.startSpan('at start').end();
`;
}

function spanNames(channel, lane = 15) {
  return readLane(channel.mailbox, lane).records.map((r) => /at start|request|late/.exec(r.payload.toString('latin1'))?.[0]);
}

async function servedAt(answer) {
  assert.strictEqual(await answer, 'served');
  return Date.now();
}

test('http: requests wait for the grant, in their order, and their spans are in the mailbox at once', async (t) => {
  const channel = new Channel(t, { after: kAfterMs });
  const child = await channel.start(`${traced()}
const order = [];
require('node:http').createServer((request, response) => {
  tracer.startSpan('request').end();
  order.push(request.url);
  response.end(request.url === '/2' ? order.join('') : 'served');
  if (request.url === '/2') process.kill(process.pid, 'SIGKILL');
})${kSaysPort}`);
  const port = Number(await child.firstLine);
  const all = ['/0', '/1'].map((where) => get(port, where).then(() => Date.now()));
  await until('claimed', () => channel.claims.length > 0);
  assert.strictEqual(channel.claims[0].mailbox, 'path');
  await new Promise((resolve) => setTimeout(resolve, kAfterMs / 2));
  get(port, '/2'); // is killed within its answer
  for (const at of await Promise.all(all)) assert.ok(at >= channel.answeredAt);
  assert.strictEqual(await child.ended, 'SIGKILL');
  assert.deepStrictEqual(spanNames(channel), ['at start', 'request', 'request', 'request']);
});

test('a refusal and a plain server: held connections are served, one that is gone is not', async (t) => {
  const channel = new Channel(t, { after: kAfterMs, answer: 'refuse' });
  const child = await channel.start(`
let count = 0;
require('node:net').createServer((socket) => {
  ++count;
  socket.on('error', () => {});
  socket.once('data', (text) => socket.end(text + ' served ' + count));
})${kSaysPort}`);
  const port = Number(await child.firstLine);
  await new Promise((resolve) => {
    const gone = net.connect(port, '127.0.0.1', () => setTimeout(() => resolve(gone.resetAndDestroy()), 50));
  });
  const text = await new Promise((resolve) => {
    let all = '';
    const socket = net.connect(port, '127.0.0.1', () => socket.end('a half-closed one'));
    socket.on('data', (part) => (all += part)).on('end', () => resolve(all));
  });
  assert.strictEqual(text, 'a half-closed one served 1');
  assert.ok(Date.now() >= channel.answeredAt);
});

test('without an answer it serves after 5 s', async (t) => {
  const channel = new Channel(t, { answer: 'none' });
  const child = await channel.start(`require('node:http').createServer(${kHandler})${kSaysPort}`);
  const port = Number(await child.firstLine);
  await servedAt(get(port, '/'));
  const waited = Date.now() - channel.claims[0].at;
  assert.ok(waited > 4500 && waited < 8000, `${waited} ms`);
});

function certificate(folder) {
  const words = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -keyout key -out cert`;
  execFileSync('openssl', words.split(' '), { cwd: folder, stdio: 'ignore' });
}

test('https and http2 wait for the grant', async (t) => {
  const channel = new Channel(t, { after: kAfterMs });
  certificate(channel.folder);
  const kFiles = `const read = (name) => require('node:fs').readFileSync(require('node:path').join(__dirname, name));
const options = { key: read('key'), cert: read('cert'), allowHTTP1: true };`;
  const overTls = await channel.start(`${kFiles} require('node:https').createServer(options, ${kHandler})${kSaysPort}`);
  const port = Number(await overTls.firstLine);
  const text = new Promise((resolve, reject) => {
    https.get({ port, host: '127.0.0.1', rejectUnauthorized: false, agent: false }, (response) => {
      response.on('data', (part) => resolve(part.toString()));
    }).on('error', reject);
  });
  assert.ok((await servedAt(text)) >= channel.answeredAt);
  for (const make of ['createServer(', 'createSecureServer(options, ']) {
    const child = await channel.start(`${kFiles} require('node:http2').${make}${kHandler})${kSaysPort}`);
    const before = channel.claims.length;
    const session = http2.connect(`${make === 'createServer(' ? 'http' : 'https'}://127.0.0.1:${await child.firstLine}`, {
      rejectUnauthorized: false,
    });
    const two = new Promise((resolve) => session.request({ ':path': '/' }).on('data', (part) => resolve(part.toString())));
    const at = await servedAt(two);
    assert.ok(channel.claims.length >= before && at >= channel.answeredAt);
    session.destroy();
  }
});

test('workers of a cluster wait each for its own grant', async (t) => {
  const channel = new Channel(t, { after: kAfterMs });
  const child = await channel.start(`
const cluster = require('node:cluster');
if (cluster.isPrimary) {
  cluster.fork();
  cluster.on('listening', (worker, address) => console.log(address.port));
} else require('node:http').createServer(${kHandler}).listen(0, '127.0.0.1');`);
  const port = Number(await child.firstLine);
  const answer = get(port, '/');
  await until('claimed', () => channel.claims.length > 0);
  assert.notStrictEqual(channel.claims[0].pid, child.pid);
  assert.strictEqual(channel.claims[0].explicit, true);
  assert.ok((await servedAt(answer)) >= channel.answeredAt);
});

test('SIGTERM and exit while the claim is on its way: spans are written if the grant comes soon', async (t) => {
  for (const [end, result] of [['process.kill(process.pid, "SIGTERM")', 'SIGTERM'], ['process.exit(3)', 3]]) {
    const channel = new Channel(t, { after: 40 });
    const child = await channel.start(`${traced()}
require('node:net').createServer().listen(0, () => setImmediate(() => ${end}));`);
    assert.strictEqual(await child.ended, result);
    assert.deepStrictEqual(spanNames(channel), ['at start'], end);
  }
});

test('SIGTERM waits no longer than that, and a listener of the program decides alone', async (t) => {
  const channel = new Channel(t, { after: 3000 });
  const child = await channel.start(`${traced()}
require('node:net').createServer().listen(0, () => console.log('listens'));`);
  await child.firstLine;
  const begun = Date.now();
  child.kill('SIGTERM');
  assert.strictEqual(await child.ended, 'SIGTERM');
  assert.ok(Date.now() - begun < 1000);
  const other = await channel.start(`
process.on('SIGTERM', () => process.exit(7));
require('node:net').createServer().listen(0, () => console.log('listens'));`);
  await other.firstLine;
  other.kill('SIGTERM');
  assert.strictEqual(await other.ended, 7);
});

test('an explicit claim keeps the process until it is answered', async (t) => {
  const channel = new Channel(t, { after: 100 });
  const child = await channel.start(`
require(${JSON.stringify(path.resolve(__dirname, '..'))}).serve().then((serves) => console.log(serves));`);
  assert.strictEqual(await child.ended, 0);
  assert.strictEqual(child.said, 'true\n');
  assert.strictEqual(fs.existsSync(channel.mailbox), true);
});

// Names that no type has checked, and a span that cannot be read: none of the program's to hear of.
const kOdd = `
const load = require('node:module').createRequire(${JSON.stringify(path.join(packages('current'), 'x.js'))});
const { BasicTracerProvider } = load('@opentelemetry/sdk-trace-base');
const provider = new BasicTracerProvider();
const tracer = provider.getTracer('a');
const odd = () => {
  for (const name of [undefined, 42, null, 'span-text']) tracer.startSpan(name, { attributes: { 7: 'seven' } }).end();
  provider.getTracer(42, 43).startSpan('span-scope').end();
  const broken = tracer.startSpan('span-broken');
  Object.defineProperty(broken.attributes, 'x', { enumerable: true, get() { throw new Error('no'); } });
  broken.end();
};
`;

test('whatever a program has made of a span before the claim and after it, it goes on, and each is counted', async (t) => {
  const serve = `require(${JSON.stringify(path.resolve(__dirname, '..'))}).serve().then((serves) => {
    odd();
    console.log('serves', serves);
  });`;
  const channel = new Channel(t);
  const child = await channel.start(`${kOdd}odd();${serve}`);
  assert.strictEqual(await child.ended, 0);
  assert.strictEqual(child.said, 'serves true\n');
  const { lane, records } = readLane(channel.mailbox, 15);
  assert.strictEqual(records.length, 10);
  const word = (index) => Number(lane.readBigUInt64LE(index * 8));
  assert.deepStrictEqual([word(1), word(2), word(8 + 4)], [12, 12, 2]); // started, ended, lost: no memory
  const slots = lane.subarray(4096 + 4096, 4096 + 4096 + 16 * 128);
  assert.deepStrictEqual(Array.from({ length: 16 }, (_, i) => slots.readBigUInt64LE(i * 128)), Array(16).fill(0n)); // none is open
});
