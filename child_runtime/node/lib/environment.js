// What the environment says (docs/contract.md): whose child we are, and whether we are a launcher that only
// starts the program. Loads nothing: this runs in each Node process below runmain.
'use strict';

const kListenFdsStart = 3;

// 1:SERVICE:SLOT:GENERATION:NONCE:PID, read from the end: a service's name may hold anything.
function readToken(text) {
  const parts = (text || '').split(':');
  if (parts.length < 6 || parts[0] !== '1') return undefined;
  const nonce = parts[parts.length - 2];
  return { nonce, pid: Number(parts[parts.length - 1]), wiped: /^-*$/.test(nonce) };
}

// Field 22 of /proc/self/stat, counted from the ")" of a name that may hold anything.
function processStart() {
  try {
    const text = require('node:fs').readFileSync('/proc/self/stat', 'latin1');
    return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[19]) || 1;
  } catch {
    return 1;
  }
}

// What who wipes the nonce leaves for itself, should it execute another program: RUNMAIN_HELD.
function heldBy(nonce) {
  return `${process.pid}:${processStart()}:${nonce}`;
}

// undefined: another process has it, or the main thread of this one.
function heldNonce(env) {
  const nonce = (env.RUNMAIN_HELD || '').split(':')[2];
  if (!nonce || env.RUNMAIN_HELD !== heldBy(nonce)) return undefined;
  return require('node:worker_threads').isMainThread ? nonce : undefined;
}

// The token of this process: with its nonce, if it has wiped that itself. What it starts may serve again.
function ownToken(env) {
  const token = readToken(env.RUNMAIN_TOKEN);
  const nonce = token && token.wiped ? heldNonce(env) : undefined;
  if (nonce === undefined) return token;
  env.RUNMAIN_TOKEN = env.RUNMAIN_TOKEN.replace(/[^:]*(?=:[^:]*$)/, () => nonce);
  return readToken(env.RUNMAIN_TOKEN);
}

// The sockets of LISTEN_FDS that are this process's, by number.
function listenFds(env, pid) {
  if (Number(env.LISTEN_PID) !== pid) return [];
  const count = Number(env.LISTEN_FDS);
  if (!(count > 0)) return [];
  return Array.from({ length: Math.min(count, 64) }, (_, i) => kListenFdsStart + i);
}

// By the path of what Node was told to run: these start programs, or build them, and never serve themselves.
// A command's name in …/bin or node_modules/.bin, which is what argv says while we are loaded; …
const kCommands = new Set(
  (
    'npm npx yarn yarnpkg pnpm pnpx corepack nodemon tsx ts-node-dev tsnd node-dev concurrently conc lerna turbo ' +
    'nx wrangler forever pm2 npm-run-all npm-run-all2 run-s run-p cross-env cross-env-shell dotenv env-cmd nest tsc ' +
    'tsc-watch tsup esbuild onchange chokidar'
  ).split(' '),
);
// … and the files behind them.
const kLaunchers = [
  /[/\\]npm[/\\]bin[/\\]np[mx]-cli\.js$/,
  /[/\\]yarn(-[0-9][^/\\]*)?\.[cm]?js$/,
  /[/\\](corepack[/\\]dist|pnpm[/\\](bin|dist))[/\\][^/\\]+\.[cm]?js$/,
  /[/\\]tsx[/\\]dist[/\\]cli\.[cm]js$/,
  /[/\\]ts-node-dev[/\\]lib[/\\]bin\.js$/,
  /[/\\]@nestjs[/\\]cli[/\\]bin[/\\]nest\.js$/,
  /[/\\]node_modules[/\\](nodemon|node-dev|concurrently|npm-run-all2?|cross-env|pm2|turbo|lerna)[/\\](.*[/\\])?bin[/\\][^/\\]*\.[cm]?js$/,
];

function isCommand(main) {
  const found = /[/\\]\.?bin[/\\]([^/\\]+?)(\.[cm]?js)?$/.exec(main);
  return found !== null && kCommands.has(found[1]);
}

// `tsx server.ts` starts a child of its own, in which Node runs the program with tsx's loader: it is a
// launcher whether it watches or not.
function isLauncher(argv, execArgv, env = process.env) {
  if (execArgv.some((word) => /^--watch(-path)?(=|$)/.test(word)) && !env.WATCH_REPORT_DEPENDENCIES) {
    return true; // the watcher; the program has that variable
  }
  if (execArgv.includes('--test') && !env.NODE_TEST_CONTEXT) return true;
  const main = argv[1];
  return typeof main === 'string' && (isCommand(main) || kLaunchers.some((pattern) => pattern.test(main)));
}

function isClusterWorker() {
  // Node has taken NODE_UNIQUE_ID out by the time that we run; only a process with a channel can be one.
  return process.channel !== undefined && process.channel !== null && require('node:cluster').isWorker;
}

module.exports = { readToken, ownToken, heldBy, heldNonce, processStart, listenFds, isLauncher, isClusterWorker };
