// Without runmain, with its telemetry off, and with our files out of reach: the program is as it would be.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { spawn } = require('node:child_process');
const { packages } = require('./packages');
const { Channel } = require('./channel');
const { readLane } = require('./mailbox_file');
const { until } = require('./runmain');

const kPackage = path.resolve(__dirname, '..');

async function collector(t) {
  const paths = [];
  const server = http.createServer((request, response) => {
    request.resume();
    request.on('end', () => {
      paths.push(request.url);
      response.end();
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { paths, endpoint: `http://127.0.0.1:${server.address().port}` };
}

for (const [name, of] of Object.entries({
  'without runmain': {},
  'with the telemetry off': { RUNMAIN_TOKEN: '1:web:0:1:nonce:1', RUNMAIN_CHANNEL: '/nowhere' },
})) {
  test(`setupTracing() ${name} exports as the SDK's environment says`, async (t) => {
    const { paths, endpoint } = await collector(t);
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'runmain-node-'));
    t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
    fs.symlinkSync(path.join(packages('current'), 'node_modules'), path.join(folder, 'node_modules'));
    const file = path.join(folder, 'program.js');
    fs.writeFileSync(
      file,
      `const runmain = require(${JSON.stringify(kPackage)});
console.log(JSON.stringify([runmain.setupTracing().started, runmain.setupTracing().started]));
require('@opentelemetry/api').trace.getTracer('a').startSpan('a span').end();
setTimeout(() => {}, 100);`,
    );
    const env = { ...process.env, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${endpoint}/own/traces`, OTEL_METRICS_EXPORTER: 'none', OTEL_LOGS_EXPORTER: 'none', ...of };
    const child = spawn(process.execPath, [file], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (text) => (said += text));
    const code = await new Promise((resolve) => child.on('exit', resolve));
    assert.deepStrictEqual([code, said], [0, '[true,false]\n']);
    await until('it is exported', () => paths.includes('/own/traces'), 5000);
  });
}

test('without a channel in reach spans go to the receiver', async (t) => {
  const { paths, endpoint } = await collector(t);
  const channel = new Channel(t);
  const from = JSON.stringify(path.join(packages('current'), 'x.js'));
  const child = await channel.start(
    `const { BasicTracerProvider } = require('node:module').createRequire(${from})('@opentelemetry/sdk-trace-base');
const tracer = new BasicTracerProvider().getTracer('a');
tracer.startSpan('before').end();
require('node:net').createServer().listen(0, () => setTimeout(() => tracer.startSpan('after').end(), 200));`,
    { RUNMAIN_CHANNEL: '/nowhere', OTEL_EXPORTER_OTLP_ENDPOINT: endpoint },
  );
  await until('both are there', () => paths.filter((one) => one === '/v1/traces').length === 2, 10000);
  child.kill('SIGKILL');
  await child.ended;
});

test('a second copy of the package uses the first: each span is there once', async (t) => {
  const channel = new Channel(t);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'runmain-node-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  fs.cpSync(kPackage, folder, { recursive: true });
  const from = path.join(packages('current'), 'x.js');
  const child = await channel.start(`
process.argv[1] = ${JSON.stringify(from)}; // where packages are looked for
const runmain = require(${JSON.stringify(folder)});
console.log(JSON.stringify([runmain.setupTracing().started, runmain.setupTracing().started]));
const { trace } = require('node:module').createRequire(${JSON.stringify(from)})('@opentelemetry/api');
runmain.serve().then(() => {
  trace.getTracer('a').startSpan('only once').end();
  process.kill(process.pid, 'SIGTERM');
});
setTimeout(() => {}, 20000);`);
  assert.strictEqual(await child.ended, 'SIGTERM');
  assert.strictEqual(child.said, '[true,false]\n');
  const { records } = readLane(channel.mailbox, 15);
  assert.strictEqual(records.filter((r) => r.payload.toString('latin1').includes('only once')).length, 1);
});

test('what is out of reach is told, and the program listens', async (t) => {
  const channel = new Channel(t);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'runmain-node-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  fs.cpSync(path.join(kPackage, 'lib'), path.join(folder, 'share/lib'), { recursive: true });
  fs.copyFileSync(path.join(kPackage, 'register.js'), path.join(folder, 'share/register.js'));
  const child = await channel.start(
    `require('node:fs').renameSync(${JSON.stringify(path.join(folder, 'share'))}, ${JSON.stringify(path.join(folder, 'away'))});
process.on('warning', (warning) => console.log(warning.message.split(':')[0]));
require('node:http').createServer().listen(0, '127.0.0.1', function () { this.close(); });`,
    { RUNMAIN_AUTO: '1', NODE_OPTIONS: '--no-warnings' },
    path.join(folder, 'share/register.js'),
  );
  assert.strictEqual(await child.ended, 0);
  assert.strictEqual(child.said, 'no telemetry, ignoring\n');
});

test('zero-code instrumentation without packages is told once, by who serves', async (t) => {
  const channel = new Channel(t);
  const child = await channel.start(
    `process.on('warning', (warning) => console.log(/has no .*: nothing is traced/.test(warning.message)));
require('node:http').createServer().listen(0, '127.0.0.1', function () { setTimeout(() => this.close(), 300); });`,
    { RUNMAIN_AUTO: '1', RUNMAIN_WORKER: '0', RUNMAIN_GENERATION: '1', NODE_OPTIONS: '--no-warnings' },
  );
  assert.strictEqual(await child.ended, 0);
  assert.strictEqual(child.said, 'true\n');
});
