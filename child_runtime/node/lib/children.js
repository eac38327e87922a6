// The children of a process that has the role find a token that is void (docs/contract.md): they are helpers. Two
// kinds serve all the same, and get it as it was: the workers of a cluster, and a forked child, with the first
// socket that it is handed.
//
// Non-goal: children that were started before; these have it.
'use strict';

const { ChildProcess } = require('node:child_process');

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

// `token` as helpers find it. Changes what this process starts from now on.
function hide(token) {
  const { spawn } = ChildProcess.prototype; // below fork, spawn and cluster, however they were imported
  ChildProcess.prototype.spawn = function (options) {
    const pairs = options && options.envPairs;
    const isWorker = Array.isArray(pairs) && pairs.some((pair) => pair.startsWith(kOfWorker));
    if (isWorker) options.envPairs = pairs.map((pair) => (pair.startsWith(kName) ? kName + token : pair));
    const result = spawn.apply(this, arguments);
    if (!isWorker && typeof this.send === 'function') tellWithSocket(this, token);
    return result;
  };
  return token.replace(/[^:]+(:[^:]*)$/, '-$1');
}

module.exports = { hide };
