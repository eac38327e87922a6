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

// The sockets of LISTEN_FDS that are this process's, by number.
function listenFds(env, pid) {
  if (Number(env.LISTEN_PID) !== pid) return [];
  const count = Number(env.LISTEN_FDS);
  if (!(count > 0)) return [];
  return Array.from({ length: Math.min(count, 64) }, (_, i) => kListenFdsStart + i);
}

// By the path of what Node was told to run: these start programs, or build them, and never serve themselves.
const kLaunchers = [
  /[/\\]npm[/\\]bin[/\\]np[mx]-cli\.js$/,
  /[/\\]bin[/\\](npm|npx|yarn|yarnpkg|pnpm|pnpx|corepack|nodemon|tsx|ts-node-dev|tsnd|node-dev|concurrently|lerna|turbo|nx|wrangler|forever|pm2)(\.[cm]?js)?$/,
  /[/\\]yarn(-[0-9][^/\\]*)?\.[cm]?js$/,
  /[/\\](corepack|pnpm)[/\\].*\.[cm]?js$/,
  /[/\\]nodemon[/\\]bin[/\\]nodemon\.js$/,
  /[/\\]tsx[/\\]dist[/\\]cli\.[cm]js$/,
  /[/\\](ts-node-dev|node-dev|concurrently)[/\\].*bin[/\\][^/\\]*\.js$/,
];

// `tsx server.ts` starts a child of its own, in which Node runs the program with tsx's loader: it is a
// launcher whether it watches or not.
function isLauncher(argv, execArgv) {
  if (execArgv.some((word) => /^--watch(-path)?(=|$)/.test(word)) && !process.env.WATCH_REPORT_DEPENDENCIES) {
    return true; // the watcher; the program has that variable
  }
  if (execArgv.includes('--test') && !process.env.NODE_TEST_CONTEXT) return true;
  const main = argv[1];
  return typeof main === 'string' && kLaunchers.some((pattern) => pattern.test(main));
}

function isClusterWorker() {
  // Node has taken NODE_UNIQUE_ID out by the time that we run; only a process with a channel can be one.
  return process.channel !== undefined && process.channel !== null && require('node:cluster').isWorker;
}

module.exports = { readToken, listenFds, isLauncher, isClusterWorker };
