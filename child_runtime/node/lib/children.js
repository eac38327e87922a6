// The children of a process that has the role find a token that is void (docs/contract.md): they are helpers. Two
// kinds serve all the same, and get it as it was: the workers of a cluster, and a forked child, with the first
// socket that it is handed.
//
// Non-goals: children that were started before, which have it; what calls a spawnSync() that it took out of the module
// before any require() of it was seen (process.getBuiltinModule).
'use strict';

const childProcess = require('node:child_process');
const { syncBuiltinESMExports } = require('node:module');

const { ChildProcess } = childProcess;

const kName = 'RUNMAIN_TOKEN=';
const kOfWorker = 'NODE_UNIQUE_ID='; // cluster's
const kTell = 'NODE_RUNMAIN_TOKEN'; // a message that no program sees (early.js)

function tellWithSocket(child, token) {
  const { send } = child;
  let told = false;
  child.send = function (message, handle) {
    if (!told && handle !== null && typeof handle === 'object') {
      told = true;
      send.call(child, { cmd: kTell, token }, undefined, undefined, () => {}); // an error is the program's to see, once
    }
    return send.apply(this, arguments);
  };
}

let own; // { token, hidden } of this process, once it has the role
let isWrapped = false;

function optionsHidden(options) {
  const { env } = options;
  if (!own || !env || env.RUNMAIN_TOKEN !== own.token) return options;
  const copy = {};
  for (const key in env) copy[key] = env[key]; // what it inherits counts for Node, too
  return { ...options, env: { ...copy, RUNMAIN_TOKEN: own.hidden } };
}

// Below these there is nothing that can be changed. Before the program takes them out of the module; once.
function wrapSync() {
  if (isWrapped) return;
  isWrapped = true;
  for (const name of ['spawnSync', 'execFileSync', 'execSync']) {
    const original = childProcess[name];
    const wrapped = function (...args) {
      const isOptions = (one) => one !== null && typeof one === 'object' && !Array.isArray(one);
      return original.apply(this, args.map((one) => (isOptions(one) ? optionsHidden(one) : one)));
    };
    for (const key of ['name', 'length']) Object.defineProperty(wrapped, key, { value: original[key], configurable: true });
    childProcess[name] = wrapped;
  }
  syncBuiltinESMExports(); // who imports it has no require()
}

// `token` as helpers find it. Changes what this process starts from now on: also with a copy of its environment that
// was taken before, but for another runmain's token.
function hide(token) {
  const hidden = token.replace(/[^:]+(:[^:]*)$/, '-$1');
  own = { token, hidden };
  wrapSync();
  const { spawn } = ChildProcess.prototype; // below fork, spawn and cluster, however they were imported
  ChildProcess.prototype.spawn = function (options) {
    const pairs = options && Array.isArray(options.envPairs) ? options.envPairs : [];
    const isWorker = pairs.some((pair) => pair.startsWith(kOfWorker));
    const [found, wanted] = isWorker ? [hidden, token] : [token, hidden];
    const at = pairs.indexOf(kName + found);
    if (at >= 0) options.envPairs = Object.assign([...pairs], { [at]: kName + wanted });
    const result = spawn.apply(this, arguments);
    if (!isWorker && typeof this.send === 'function') tellWithSocket(this, token);
    return result;
  };
  return hidden;
}

module.exports = { hide, wrapSync };
