// What a process that has the role starts is a helper: it loads next to nothing of ours and starts nothing. But for
// the workers of a cluster, and a forked child that is handed a socket.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { execFile } = require('node:child_process');
const { packages } = require('./packages');
const { Channel } = require('./channel');
const { readLane } = require('./mailbox_file');
const { until, get, kRegister } = require('./runmain');

const kVoid = { RUNMAIN_TOKEN: '1:web:0:1:-:1', RUNMAIN_CHANNEL: '/nowhere', RUNMAIN_AUTO: '1' };

// A folder of a program, with the current packages.
function project(t, files) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'runmain-node-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  fs.symlinkSync(path.join(packages('current'), 'node_modules'), path.join(folder, 'node_modules'));
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(folder, name), text);
  return folder;
}

// A receiver that counts the requests to it.
async function counting(t) {
  const seen = { requests: 0 };
  const server = http.createServer((request, response) => {
    ++seen.requests;
    response.end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  seen.url = `http://127.0.0.1:${server.address().port}`;
  return seen;
}

function run(folder, args, env = {}) {
  const all = { ...process.env, NODE_OPTIONS: `--require ${kRegister}`, ...kVoid, ...env };
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { cwd: folder, env: all }, (error, out) => (error ? reject(error) : resolve(out)));
  });
}

// Says which files of ours and of OpenTelemetry are loaded, and who listens.
const kSays = `
const { createRequire } = process.getBuiltinModule ? process.getBuiltinModule('node:module') : require('node:module');
const { cache } = createRequire(process.cwd() + '/x.js');
const files = Object.keys(cache).filter((file) => file.includes('child_runtime') || file.includes('@opentelemetry'));
console.log(JSON.stringify({ files: files.map((file) => file.split('/').pop()).sort(), signals: process.listenerCount('SIGTERM') }));
`;
const kNothing = { files: ['early.js', 'environment.js', 'register.js'], signals: 0 };

test('a helper loads nothing but what decides that', async (t) => {
  const folder = project(t, { 'helper.js': `require('node:http'); require('express');${kSays}` });
  assert.deepStrictEqual(JSON.parse(await run(folder, ['helper.js'])), kNothing);
  // The same with a token is one that may come to serve.
  const { files } = JSON.parse(await run(folder, ['helper.js'], { RUNMAIN_TOKEN: '1:web:0:1:nonce:1' }));
  assert.ok(files.length > 100, `${files.length}`);
});

test('a helper in a project of ES modules, and node -e there', async (t) => {
  const text = kSays.replace(/.*createRequire.*\n/, "import { createRequire } from 'node:module';\n");
  const folder = project(t, { 'package.json': '{"type":"module"}', 'helper.js': `import 'node:http';${text}` });
  assert.deepStrictEqual(JSON.parse(await run(folder, ['helper.js'])), kNothing);
  assert.deepStrictEqual(JSON.parse(await run(folder, ['--input-type=commonjs', '-e', kSays])), kNothing);
});

test("a helper's own SDK passes its context on, and nothing of it is sent", async (t) => {
  const receiver = await counting(t);
  const program = `
const { NodeSDK } = require('@opentelemetry/sdk-node');
const { trace, context, propagation } = require('@opentelemetry/api');
new NodeSDK({ instrumentations: [] }).start();
const own = () => trace.getTracer('a').startActiveSpan('a span', (span) => {
  const carrier = {};
  propagation.inject(context.active(), carrier);
  span.end();
  return carrier.traceparent;
});
console.log(own(), require(${JSON.stringify(path.resolve(__dirname, '..'))}).setupTracing().started);
new (require('node:worker_threads').Worker)(\`
  const { BasicTracerProvider } = require('@opentelemetry/sdk-trace-base');
  new BasicTracerProvider().getTracer('a').startSpan('in a thread').end();
\`, { eval: true });
setTimeout(() => {}, 1500);`;
  const folder = project(t, { 'helper.js': program });
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_METRICS_EXPORTER: 'none', OTEL_LOGS_EXPORTER: 'none' };
  assert.match(await run(folder, ['helper.js'], env), /^00-[0-9a-f]{32}-[0-9a-f]{16}-01 false\n$/);
  assert.strictEqual(receiver.requests, 0);
});

test('a thread of a process that serves without a mailbox sends by HTTP, though its token is void', async (t) => {
  const receiver = await counting(t);
  const channel = new Channel(t, { answer: 'grant' });
  fs.unlinkSync(channel.mailbox);
  const from = path.join(packages('current'), 'x.js');
  const child = await channel.start(`
if (require('node:worker_threads').isMainThread) {
  require('node:net').createServer().listen(0, () => setTimeout(() => {
    console.log(process.env.RUNMAIN_TOKEN);
    new (require('node:worker_threads').Worker)(__filename);
  }, 500));
} else {
  const { BasicTracerProvider } = require('node:module').createRequire(${JSON.stringify(from)})('@opentelemetry/sdk-trace-base');
  new BasicTracerProvider().getTracer('a').startSpan('in a thread').end();
  setTimeout(() => {}, 500);
}`, { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url });
  assert.strictEqual(await child.firstLine, '1:web:0:1:-:1');
  await until('it is there', () => receiver.requests > 0, 5000);
});

// The parent has the role by the time that it forks.
const kHanding = `
if (process.argv[2] === 'child') {
  const http = require('node:http');
  const isPlain = !Object.keys(require.cache).some((file) => file.includes('@opentelemetry'));
  process.on('message', (message, handle) => {
    http.createServer((request, response) => response.end(process.pid + ' ' + isPlain)).listen(handle, () => process.send('has'));
  });
} else {
  const server = require('node:net').createServer().listen(0, '127.0.0.1', () => setTimeout(() => {
    const { port } = server.address();
    const child = require('node:child_process').fork(__filename, ['child']);
    child.send('take', server);
    child.once('message', () => server.close(() => console.log(port)));
  }, 500));
}`;

test('a forked child that is handed a socket is instrumented from then on', async (t) => {
  const channel = new Channel(t, { answer: 'first' });
  fs.symlinkSync(path.join(packages('current'), 'node_modules'), path.join(channel.folder, 'node_modules'));
  const child = await channel.start(kHanding, { RUNMAIN_AUTO: '1', NODE_OPTIONS: `--require ${kRegister}` });
  const [pid, isPlain] = (await get(Number(await child.firstLine), '/')).split(' ');
  t.after(() => process.kill(Number(pid), 'SIGKILL'));
  assert.strictEqual(isPlain, 'true');
  const names = () => readLane(channel.mailbox, 7).records.map(({ payload }) => /GET/.exec(payload.toString('latin1'))?.[0]);
  await until('its span is there', () => names().includes('GET'), 5000);
  assert.deepStrictEqual(channel.claims.map((claim) => claim.isGranted), [true, true]);
});

test('a copy of the environment from before the claim is void, too; another runmain\'s token stays', async (t) => {
  const channel = new Channel(t);
  const child = await channel.start(`
const before = { ...process.env };
const { spawn } = require('node:child_process');
const say = (env) => spawn(process.execPath, ['-p', 'process.env.RUNMAIN_TOKEN'], { env, stdio: 'inherit' });
require(${JSON.stringify(path.resolve(__dirname, '..'))}).serve().then(() => {
  say(before).on('exit', () => say({ ...process.env }).on('exit', () => say({ ...before, RUNMAIN_TOKEN: '1:in:0:1:other:1' })));
});`);
  assert.strictEqual(await child.ended, 0);
  assert.strictEqual(child.said, '1:web:0:1:-:1\n1:web:0:1:-:1\n1:in:0:1:other:1\n');
});

test('so it is in what is started and waited for, by whatever name the program has the function', async (t) => {
  const say = "['-p', 'process.env.RUNMAIN_TOKEN'], { env: before, encoding: 'utf8' }";
  const program = (imports) => `${imports}
const before = { ...process.env };
const all = () => [spawnSync(process.execPath, ${say}).stdout, execFileSync(process.execPath, ${say}),
  execSync('echo $RUNMAIN_TOKEN', { env: Object.create(before), encoding: 'utf8' }),
  spawnSync(process.execPath, ['-p', 'process.env.RUNMAIN_TOKEN'], { encoding: 'utf8' }).stdout,
  spawnSync(process.execPath, ${say.replace('before', "{ ...before, RUNMAIN_TOKEN: '1:in:0:1:other:1' }")}).stdout];
const first = all();
runmain.serve().then(() => console.log([...first, before.RUNMAIN_TOKEN + '\\n', ...all()].join('').trim().split('\\n').join(' ')));`;
  const index = JSON.stringify(path.resolve(__dirname, '..'));
  const named = '{ spawnSync, execFileSync, execSync }';
  const commonJs = program(`const ${named} = require('child_process'); const runmain = require(${index});`);
  const module = program(`import ${named} from 'node:child_process'; import runmain from ${index.replace(/"$/, '/index.js"')};`);
  for (const [text, more] of [[commonJs, []], [module, ['--input-type=module']]]) {
    const channel = new Channel(t);
    const run = `process.exit(require('node:child_process').spawnSync(process.execPath,
      ${JSON.stringify(['--require', kRegister, ...more, '-e', text])}, { stdio: ['inherit', 'inherit', 1] }).status)`;
    const child = await channel.start(run); // what it warns of is said, too
    assert.strictEqual(await child.ended, 0);
    const [whole, hidden, inner] = ['1:web:0:1:nonce:1', '1:web:0:1:-:1', '1:in:0:1:other:1'];
    assert.deepStrictEqual(child.said.trim().split(' '), [whole, whole, whole, whole, inner, whole, hidden, hidden, hidden, hidden, inner]);
  }
});
