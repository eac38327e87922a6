// What the probe of `runmain doctor` says of processes (docs/doctor-records.md): signals, ends, who starts whom; and that
// the program is as it would be without it.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { spawnSync } = require('node:child_process');
const { until } = require('./runmain');
const { Probed, prelude, kProvider, kProbe } = require('./probed');

for (const [what, program, expected] of [
  ['its end', '', { how: 'end', code: 0, ended: 0 }],
  ['its end with a code', 'process.exitCode = 4;', { how: 'end', code: 4, ended: 4 }],
  ['process.exit', 'process.exit(3);', { how: 'process.exit', code: 3, ended: 3, at: /program\.js:1 / }],
  ['process.exit in a callback', 'process.exitCode = 5; setImmediate(function later() { process.exit(); });', { how: 'process.exit', code: 5, ended: 5, at: /program\.js:1 later$/ }],
  ['process.reallyExit', 'process.reallyExit(2);', { how: 'process.reallyExit', code: 2, ended: 2, at: /program\.js:1 / }],
  ['process.abort', 'process.abort();', { how: 'process.abort', code: 134, ended: 'SIGABRT', at: /program\.js:1 / }],
  ['an exception', "setImmediate(() => { throw new Error('no'); });", { how: 'uncaughtException', code: 1, ended: 1, at: /Error: no/ }],
  ['a rejection', "Promise.reject(new Error('no'));", { how: 'uncaughtException', code: 1, ended: 1, at: /Error: no/ }],
  ['an exception that is caught', "process.on('uncaughtException', () => {}); setImmediate(() => { throw new Error('no'); });", { how: 'end', code: 0, ended: 0 }],
]) {
  test(`the end of a process is told once: ${what}`, async (t) => {
    const probed = new Probed(t);
    const { how, pid } = await probed.run(program);
    const exits = probed.of(pid, 'exit').map((one) => [one.how, one.code]);
    assert.deepStrictEqual([how, exits], [expected.ended, [[expected.how, expected.code]]]);
    const [{ stack }] = probed.of(pid, 'exit');
    if (expected.at) assert.match(stack[0], expected.at);
    else assert.strictEqual(stack, undefined);
  });
}

test('handlers of SIGTERM and SIGINT are told however they are installed, and get their signal', async (t) => {
  const probed = new Probed(t);
  const child = await probed.start(`process.on('SIGTERM', () => console.log('heard'));
process.once('SIGINT', () => process.exit(7));
process.on('SIGHUP', () => {});
require('events').EventEmitter.prototype.prependListener.call(process, 'SIGTERM', function last() {});
const { emit } = process; // as tsx does
process.emit = function (...all) { return emit.apply(this, all); };
process.on('SIGTERM', () => {});
console.log('ready', process.listenerCount('SIGTERM'), process.listenerCount('exit'));
setInterval(() => {}, 1000);`);
  await until('it is ready', () => child.said.includes('ready 3 0\n'));
  child.kill('SIGTERM');
  await until('it is heard', () => child.said.includes('heard'));
  child.kill('SIGINT');
  assert.strictEqual(await child.ended, 7);
  const told = probed.of(child.pid, 'signal').map((one) => [one.signal, path.basename(one.handler)]);
  assert.deepStrictEqual(told, [['SIGTERM', 'program.js:1'], ['SIGINT', 'program.js:2'], ['SIGTERM', 'program.js:4'], ['SIGTERM', 'program.js:7']]);
});

test('signals that a process sends are told, to itself and to its children', async (t) => {
  const probed = new Probed(t);
  const { how, said, pid } = await probed.run(`const { spawn } = require('child_process');
const one = spawn('sleep', ['60']);
const two = spawn('sleep', ['60']);
process.kill(one.pid, 0);
process.kill(one.pid, 9);
two.on('exit', () => process.kill(process.pid, 'SIGTERM'));
one.on('exit', () => { two.kill(); });
console.log(one.pid, two.pid);`);
  const [one, two] = said.trim().split(' ').map(Number);
  assert.strictEqual(how, 'SIGTERM');
  const told = probed.of(pid, 'kill').map((record) => [record.to, record.signal, record.stack[0].replace(/.*program/, 'program').split(' ')[0]]);
  assert.deepStrictEqual(told, [[one, 'SIGKILL', 'program.js:5'], [two, 'SIGTERM', 'program.js:7'], [pid, 'SIGTERM', 'program.js:6']]);
});

test("a cluster's workers have records of their own", async (t) => {
  const probed = new Probed(t);
  const { how, pid } = await probed.run(
    `${prelude('current')}${kProvider}
const cluster = require('cluster');
if (cluster.isPrimary) {
  for (let i = 0; i < 2; ++i) cluster.fork().on('message', function () { this.kill('SIGKILL'); });
} else {
  providerOf().getTracer('a').startSpan('in a worker');
  process.send('ready');
  setInterval(() => {}, 1000);
}`,
  );
  assert.strictEqual(how, 0);
  const { [pid]: primary, ...workers } = probed.all();
  assert.strictEqual(Object.keys(workers).length, 2);
  for (const [worker, records] of Object.entries(workers)) {
    assert.deepStrictEqual([records[0].k, records[0].ppid, records[0].pid], ['process', pid, Number(worker)]);
    assert.deepStrictEqual(records.filter((one) => one.k === 'start').map((one) => one.name), ['in a worker']);
    assert.ok(!records.some((one) => one.k === 'exit'));
  }
  const killed = primary.filter((one) => one.k === 'kill').map((one) => [one.to, one.signal]);
  assert.deepStrictEqual(killed.sort(), Object.keys(workers).map((worker) => [Number(worker), 'SIGKILL']).sort());
  assert.ok(!primary.some((one) => one.k === 'provider'));
});

test('node --watch: each program that it starts has records, and one parent', async (t) => {
  const probed = new Probed(t);
  const program = "console.log('runs'); setInterval(() => {}, 1000);";
  const child = await probed.start(program, { args: ['--watch'] });
  const pids = () => Object.keys(probed.all()).map(Number);
  await until('it runs', () => child.said.includes('runs\n'));
  // It may not watch yet, and waits until changes rest.
  const again = setInterval(() => fs.writeFileSync(path.join(probed.folder, 'program.js'), program), 1500);
  t.after(() => clearInterval(again));
  await until('it runs again', () => pids().length > 1);
  const parents = Object.values(probed.all()).map(([process]) => process.ppid);
  assert.deepStrictEqual([...new Set(parents)], [child.pid]);
  assert.ok(!pids().includes(child.pid)); // Node preloads nothing into it
  child.kill('SIGTERM');
  await child.ended;
});

test('worker threads write nothing, and without RUNMAIN_DOCTOR nobody does', async (t) => {
  const probed = new Probed(t);
  const program = `const { Worker } = require('worker_threads');
new Worker('process.kill(process.pid, 15); process.exit(0)', { eval: true }).on('exit', () => process.removeAllListeners('SIGTERM'));
process.on('SIGTERM', () => {});`;
  const { pid } = await probed.run(program);
  assert.deepStrictEqual(probed.of(pid).map((one) => one.k), ['process', 'signal', 'exit']);
  const plain = await probed.run("console.log(process.kill.name, Object.keys(require.cache).length)", { env: { RUNMAIN_DOCTOR: '' } });
  assert.strictEqual(plain.said, 'kill 2\n'); // the program, and probe.js
  assert.deepStrictEqual(Object.keys(probed.all()).map(Number), [pid]);
});

test('a process at its bound says so once, and what began there has its end', async (t) => {
  const probed = new Probed(t);
  const { how, said, pid } = await probed.run(
    `${prelude('current')}${kProvider}
let ended = 0;
const provider = providerOf({ onStart() {}, onEnd() { ++ended; }, shutdown: async () => {}, forceFlush: async () => {} });
const tracer = provider.getTracer('a');
const spans = Array.from({ length: 3000 }, (_, i) => tracer.startSpan('x'.repeat(100000)));
for (const span of spans) span.end();
for (let i = 0; i < 2000; ++i) process.on('SIGTERM', () => {}).removeAllListeners('SIGTERM');
console.log(ended);`,
  );
  assert.deepStrictEqual([how, said], [0, '3000\n']);
  const records = probed.of(pid);
  const count = (kind) => records.filter((one) => one.k === kind).length;
  assert.ok(records.length <= 4096);
  assert.deepStrictEqual([count('start'), count('end'), count('full'), count('package') > 0], [1000, 1000, 1, true]);
  assert.ok(records.at(-1).k === 'exit' && records.at(-1).left_out >= 2000);
  const lines = fs.readFileSync(path.join(probed.records, `${pid}.jsonl`), 'utf8').split('\n');
  assert.ok(lines.every((line) => Buffer.byteLength(line) <= 16 << 10));
});

test('what fails in the probe never reaches the program', async (t) => {
  const probed = new Probed(t);
  const program = `${prelude('current')}${kProvider}
Error.prepareStackTrace = () => { throw new Error('of the program'); };
const provider = providerOf({ onStart() {}, onEnd() {}, forceFlush: async () => {}, get shutdown() { return async () => {}; }, get inner() { throw new Error('a getter'); } });
const { trace } = load('@opentelemetry/api');
console.log(trace.setGlobalTracerProvider(provider));
trace.getTracer('a').startActiveSpan('one', (span) => span.end());
Object.freeze(Error);
provider.shutdown().then(() => console.log('done'));`;
  const seen = await probed.run(program);
  assert.deepStrictEqual([seen.how, seen.said, seen.complained], [0, 'true\ndone\n', '']);
  assert.ok(probed.of(seen.pid, 'provider').length === 1);
  const nowhere = await probed.run(program, { env: { RUNMAIN_DOCTOR: path.join(probed.folder, 'not/there') } });
  assert.deepStrictEqual([nowhere.how, nowhere.said, nowhere.complained], [0, 'true\ndone\n', '']);
});

test('a shutdown that fails is still unhandled if the program does not handle it', async (t) => {
  const probed = new Probed(t);
  const program = (handler) => `${prelude('current')}${kProvider}
const provider = providerOf({ onStart() {}, onEnd() {}, forceFlush: async () => {}, shutdown: () => Promise.reject(new Error('no')) });
provider.shutdown()${handler};`;
  const unhandled = await probed.run(program(''));
  assert.strictEqual(unhandled.how, 1);
  assert.match(unhandled.complained, /Error: no/);
  const handled = await probed.run(program('.catch((error) => console.log(error.message))'));
  assert.deepStrictEqual([handled.how, handled.said, handled.complained], [0, 'no\n', '']);
  for (const { pid } of [unhandled, handled]) assert.strictEqual(probed.of(pid, 'shutdown').length, 1);
});

test('it looks the same to a program', () => {
  const program = `const shape = (object, name) => {
  const own = Object.getOwnPropertyDescriptor(object, name);
  return [object[name].name, object[name].length, own && own.enumerable];
};
console.log(JSON.stringify([shape(process, 'kill'), shape(process, 'exit'), shape(process, 'abort'), shape(process, 'reallyExit'),
  shape(require('module').prototype, '_compile'), process.eventNames().map(String)]));`;
  const run = (...args) => spawnSync(process.execPath, [...args, '-e', program], { env: { ...process.env, RUNMAIN_DOCTOR: '/nowhere' }, encoding: 'utf8' }).stdout;
  assert.match(run(), /^\[\["kill",2,true\]/);
  assert.strictEqual(run('--require', kProbe), run());
});
