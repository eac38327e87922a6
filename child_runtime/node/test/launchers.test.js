// Who only starts the program: by its path, and as it is seen while --require runs.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { execFileSync } = require('node:child_process');
const { isLauncher } = require('../lib/environment');
const { kRegister } = require('./runmain');

const kLaunchers = [
  '/p/node_modules/.bin/nodemon',
  '/p/node_modules/nodemon/bin/nodemon.js',
  '/p/node_modules/.bin/tsx',
  '/p/node_modules/tsx/dist/cli.mjs',
  '/p/node_modules/.bin/ts-node-dev',
  '/p/node_modules/.bin/tsnd',
  '/p/node_modules/ts-node-dev/lib/bin.js',
  '/usr/bin/npm',
  '/usr/lib/node_modules/npm/bin/npm-cli.js',
  '/usr/lib/node_modules/npm/bin/npx-cli.js',
  '/usr/local/bin/npx',
  '/p/.yarn/releases/yarn-4.1.0.cjs',
  '/usr/share/yarn/bin/yarn.js',
  '/usr/lib/node_modules/pnpm/bin/pnpm.cjs',
  '/usr/lib/node_modules/corepack/dist/pnpm.js',
  '/p/node_modules/.bin/concurrently',
  '/p/node_modules/concurrently/dist/bin/concurrently.js',
];
const kPrograms = [
  '/p/server.js',
  '/p/bin/www',
  '/home/a/pnpm/server.js',
  '/home/a/nodemon/server.js',
  '/srv/turbo/bin/www.js',
  '/p/node_modules/.pnpm/next@15/node_modules/next/dist/bin/next',
  '/p/node_modules/.bin/next',
  '/p/node_modules/ts-node-dev/lib/wrap.js',
];

test('launchers are known by their paths, programs are none', () => {
  for (const main of kLaunchers) assert.ok(isLauncher(['node', main], [], {}), main);
  for (const main of kPrograms) assert.ok(!isLauncher(['node', main], [], {}), main);
  assert.ok(!isLauncher(['node'], [], {}));
});

test('the parent of node --watch is one, its program is not', () => {
  assert.ok(isLauncher(['node', '/p/server.js'], ['--watch'], {}));
  assert.ok(isLauncher(['node', '/p/server.js'], ['--watch-path=src'], {}));
  assert.ok(!isLauncher(['node', '/p/server.js'], ['--watch'], { WATCH_REPORT_DEPENDENCIES: '1' }));
});

test('a command of node_modules/.bin loads nothing of ours', (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'runmain-node-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  fs.mkdirSync(path.join(folder, 'node_modules/.bin'), { recursive: true });
  fs.writeFileSync(path.join(folder, 'real.js'), 'console.log(Object.keys(require.cache).join(" "))');
  const loaded = (name) => {
    const link = path.join(folder, 'node_modules/.bin', name);
    fs.symlinkSync('../../real.js', link);
    const env = { ...process.env, RUNMAIN_TOKEN: '1:w:0:1:n:1', RUNMAIN_AUTO: '1', RUNMAIN_CHANNEL: '/none' };
    return execFileSync(process.execPath, ['--require', kRegister, link], { env, encoding: 'utf8' });
  };
  assert.doesNotMatch(loaded('nodemon'), /early\.js/);
  assert.doesNotMatch(loaded('tsx'), /early\.js/);
  assert.match(loaded('server'), /early\.js/);
});
