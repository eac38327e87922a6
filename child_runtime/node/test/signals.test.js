// A signal that somebody of the program listens to is the program's; else it does what it would without us.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const path = require('node:path');
const { spawn } = require('node:child_process');

const kSignals = require.resolve('../lib/signals');
const kOurs = `
const { flushBefore } = require(${JSON.stringify(path.resolve(kSignals))});
flushBefore(kSignal, () => console.log('flushed'));
flushBefore(kSignal, () => new Promise((resolve) => setTimeout(() => resolve(console.log('later')), 50)));
`;
// Drains: what is on its way needs longer than we wait.
const kDrain = `const drain = () => setTimeout(() => { console.log('drained'); process.exit(0); }, 800);\n`;

async function endOf(signal, program) {
  const text = `const kSignal = '${signal}'; ${kDrain}${program}\nsetInterval(() => {}, 1000); setTimeout(() => console.log('up'), 10);`;
  const child = spawn(process.execPath, ['-e', text], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (part) => {
    said += part;
    if (part.includes('up')) child.kill(signal);
  });
  const end = await new Promise((resolve) => child.on('close', (code, by) => resolve(by || code)));
  return { end, said: said.split('\n').slice(1, -1) };
}

const kListens = {
  'once before ours': `process.once(kSignal, drain);${kOurs}`,
  'once after ours': `${kOurs}process.once(kSignal, drain);`,
  'on before ours': `process.on(kSignal, drain);${kOurs}`,
  'on after ours': `${kOurs}process.on(kSignal, drain);`,
  'a once that comes first, later': `${kOurs}setTimeout(() => process.prependOnceListener(kSignal, drain), 5);`,
  'several once around ours': `process.once(kSignal, () => {});${kOurs}process.once(kSignal, drain);`,
  'once and on': `process.once(kSignal, drain); process.on(kSignal, () => {});${kOurs}process.prependOnceListener(kSignal, () => {});`,
  'one that leaves as it runs': `process.on(kSignal, function leaves() { process.removeListener(kSignal, leaves); drain(); });${kOurs}`,
};

for (const signal of ['SIGTERM', 'SIGINT']) {
  for (const [name, program] of Object.entries(kListens)) {
    test(`${signal}, ${name}: the program drains and ends with 0`, async () => {
      const { end, said } = await endOf(signal, program);
      assert.deepStrictEqual({ end, said }, { end: 0, said: ['flushed', 'later', 'drained'] });
    });
  }

  test(`${signal} without a listener of the program's: all of ours are waited for, then it ends by the signal`, async () => {
    assert.deepStrictEqual(await endOf(signal, kOurs), { end: signal, said: ['flushed', 'later'] });
  });

  test(`${signal} with one that was there and is gone: as without`, async () => {
    const program = `process.on(kSignal, drain);${kOurs}process.removeListener(kSignal, drain);`;
    assert.strictEqual((await endOf(signal, program)).end, signal);
  });
}
