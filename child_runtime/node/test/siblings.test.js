// Processes of one child that each listen: who gets a connection serves, with the span of that very request.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { packages } = require('./packages');
const { Channel } = require('./channel');
const { readLane } = require('./mailbox_file');
const { World, freePort, get, until } = require('./runmain');

const kTraced = `
const load = require('node:module').createRequire(${JSON.stringify(path.join(packages('current'), 'x.js'))});
const { BasicTracerProvider } = load('@opentelemetry/sdk-trace-base');
const tracer = new BasicTracerProvider().getTracer('a');
const answer = (name) => (request, response) => { tracer.startSpan('span-' + name, { kind: 1 }).end(); response.end(String(process.pid)); };
const listen = (name, said) => require('node:http').createServer(answer(name)).listen(0, '127.0.0.1', function () { said(this.address().port); });
`;

function namesIn(channel) {
  const text = [];
  for (let lane = 0; lane < 20; ++lane) text.push(...readLane(channel.mailbox, lane).records.map((r) => r.payload.toString('latin1')));
  return text.map((one) => /span-[a-z]+/.exec(one)?.[0]).sort();
}

// As if another process had the role.
function withHolder(channel) {
  channel.claims.push({ pid: 1, isGranted: true });
  return channel;
}

const granted = (channel) => channel.claims.slice(1).map((claim) => [claim.explicit, claim.isGranted]);

test('servers in forked processes of one that only starts them', async (t) => {
  const channel = new Channel(t, { answer: 'first' });
  const child = await channel.start(`${kTraced}
const { fork } = require('node:child_process');
if (process.argv[2]) listen(process.argv[2], (port) => process.send(port));
else {
  const ports = [];
  for (const name of ['one', 'two']) fork(__filename, [name]).on('message', (port) => ports.push(port) > 1 && console.log(ports.join(' ')));
}`);
  const ports = (await child.firstLine).split(' ').map(Number);
  for (const port of [...ports, ...ports]) t.after(killer(Number(await get(port, '/'))));
  await until('all are there', () => namesIn(channel).length >= 4, 5000);
  assert.deepStrictEqual(namesIn(channel), ['span-one', 'span-one', 'span-two', 'span-two']);
  assert.deepStrictEqual(channel.claims.map((c) => [c.explicit, c.isGranted]), [[false, true], [false, false], [true, true]]);
});

function killer(pid) {
  return () => {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // it was killed before
    }
  };
}

test('who was refused and gets no connection does not ask again', async (t) => {
  const channel = withHolder(new Channel(t, { answer: 'first' }));
  const child = await channel.start(`${kTraced} listen('one', console.log);`);
  await child.firstLine;
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.deepStrictEqual(granted(channel), [[false, false]]);
});

test('a connection that comes before the refusal waits for both answers', async (t) => {
  const channel = withHolder(new Channel(t, { answer: 'first', after: 300 }));
  const child = await channel.start(`${kTraced} listen('one', console.log); listen('two', console.log);`);
  const port = Number(await child.firstLine);
  await Promise.all([get(port, '/'), get(port, '/')]);
  assert.deepStrictEqual(namesIn(channel), ['span-one', 'span-one']);
  await get(Number(child.said.split('\n')[1]), '/');
  assert.deepStrictEqual(namesIn(channel), ['span-one', 'span-one', 'span-two']);
  assert.deepStrictEqual(granted(channel), [[false, false], [true, true]]);
});

test('who is refused again serves the program\'s answers all the same, and asks no more', async (t) => {
  const channel = new Channel(t, { answer: 'refuse' });
  const child = await channel.start(`${kTraced} listen('one', console.log);`);
  const port = Number(await child.firstLine);
  for (let i = 0; i < 3; ++i) assert.strictEqual(Number(await get(port, '/')), child.pid);
  assert.deepStrictEqual(channel.claims.map((claim) => claim.explicit), [false, true]);
  assert.deepStrictEqual(namesIn(channel), []);
});

test('under runmain each of two servers has its spans', async (t) => {
  const world = new World();
  t.after(() => world.stop());
  fs.symlinkSync(path.join(packages('current'), 'node_modules'), path.join(world.folder, 'node_modules'));
  fs.writeFileSync(path.join(world.folder, 'main.js'), `
const { fork } = require('node:child_process');
if (!process.argv[2]) for (const name of ['PORT', 'OTHER']) fork(__filename, [name]);
else require('node:http').createServer((request, response) => response.end(String(process.pid))).listen(Number(process.env[process.argv[2]]), '127.0.0.1');
`);
  const ports = [await freePort(), await freePort()];
  await world.start(`auto = true\n[service.web]\ncommand = "node main.js"\nport = ${ports[0]}\nwatch = false\nenv = { OTHER = "${ports[1]}" }\n`);
  const pids = [];
  for (const port of ports) pids.push(await until('it answers', () => get(port, '/')));
  await until('the spans are there', () => new Set(world.serverSpans().map((s) => s.resource['process.pid'])).size > 1);
  assert.deepStrictEqual(new Set(world.serverSpans().map((s) => s.resource['process.pid'])), new Set(pids));
  assert.strictEqual(new Set(world.serverSpans().map((s) => s.resource['service.instance.id'])).size, 2);
});
