// A process that executes another program, or itself, after it has claimed: the same process, so the role is its own.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const path = require('node:path');
const { packages } = require('./packages');
const { Channel } = require('./channel');
const { readLane } = require('./mailbox_file');
const { get, until, kRegister } = require('./runmain');

const kClosed = 2;
const kTraced = `
const load = require('node:module').createRequire(${JSON.stringify(path.join(packages('current'), 'x.js'))});
const { BasicTracerProvider } = load('@opentelemetry/sdk-trace-base');
const tracer = new BasicTracerProvider().getTracer('a');
const server = (name) => require('node:http').createServer((request, response) => {
  tracer.startSpan('span-' + name, { kind: 1 }).end();
  response.end(String(process.pid));
}).listen(0, '127.0.0.1', function () { console.log(this.address().port); });
`;
// What a program leaves that has the role and executes another one: the wiped token, and for whom it was wiped.
const kWiped = { RUNMAIN_TOKEN: '1:web:0:1:-----:1' };
const asIfHeld = (pid) => `RUNMAIN_HELD=${pid}:$(sed 's/.*) //' /proc/$$/stat | cut -d' ' -f20):nonce exec ${process.execPath} --require ${kRegister} `;

function namesIn(channel) {
  const text = [];
  for (let lane = 0; lane < 20; ++lane) text.push(...readLane(channel.mailbox, lane).records.map((r) => r.payload.toString('latin1')));
  return text.map((one) => /span-[a-z]+/.exec(one)?.[0]).sort();
}

// The program runs in place of a shell that has left that for the process `pid`.
async function startFrom(channel, program, pid) {
  return channel.start(`
const { spawnSync } = require('node:child_process');
require('node:fs').writeFileSync(__dirname + '/inner.js', ${JSON.stringify(program)});
spawnSync('/bin/sh', ['-c', ${JSON.stringify(asIfHeld(pid))} + __dirname + '/inner.js'], { stdio: 'inherit' });
`, kWiped, path.join(__dirname, 'protobuf.js')); // no register.js in between
}

  test('the role is its own again, also for what it starts before it claims', async (t) => {
    const channel = new Channel(t);
    const child = await startFrom(channel, `${kTraced}
const { spawnSync } = require('node:child_process');
const out = spawnSync(process.execPath, ['-e', 'console.log(process.env.RUNMAIN_TOKEN)'], { encoding: 'utf8' });
if (out.stdout !== '1:web:0:1:nonce:1\\n') console.log('wrong', out.stdout, out.stderr);
server('after');`, '$$');
    const pid = Number(await get(Number(await child.firstLine), '/'));
    t.after(() => process.kill(pid, 'SIGKILL'));
    await until('it is there', () => namesIn(channel).length > 0, 5000);
    assert.deepStrictEqual(channel.claims.map((claim) => [claim.nonce, claim.pid]), [['nonce', pid]]);
  });

  test('what another process has left is void', async (t) => {
    const channel = new Channel(t);
    const child = await startFrom(channel, `${kTraced} server('helper');`, 1);
    const pid = Number(await get(Number(await child.firstLine), '/'));
    t.after(() => process.kill(pid, 'SIGKILL'));
    assert.deepStrictEqual([channel.claims.length, namesIn(channel)], [0, []]);
  });

  const isThere = typeof process.execve === 'function';
  test('a program that executes itself, and closes the lanes that it had', { skip: !isThere && 'no process.execve' }, async (t) => {
    const channel = new Channel(t);
    const child = await channel.start(`${kTraced}
server(process.env.AGAIN || 'before').on('request', (request) => {
  if (request.url === '/again') process.execve(process.execPath, [process.execPath, ...process.execArgv, __filename], { ...process.env, AGAIN: 'after' });
});`);
    await get(Number(await child.firstLine), '/');
    await get(Number(await child.firstLine), '/again');
    await until('it listens again', () => child.said.split('\n').length > 2, 5000);
    assert.strictEqual(Number(await get(Number(child.said.split('\n')[1]), '/')), child.pid);
    await until('both are there', () => new Set(namesIn(channel)).size > 1, 5000);
    assert.strictEqual(channel.claims.length, 2);
    const states = Array.from({ length: 20 }, (_, i) => readLane(channel.mailbox, i).lane.readUInt32LE(128)).filter(Boolean);
    assert.deepStrictEqual(states.sort(), [1, kClosed]);
  });
