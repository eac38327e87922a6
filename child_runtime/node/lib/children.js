// The children of a process that has the role find a token that is void (docs/contract.md): they are helpers. Two
// kinds serve all the same, and get it as it was: the workers of a cluster, and a forked child, with the first
// socket that it is handed.
//
// Non-goals: children that were started before, which have it; spawnSync() with such a copy.
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

// `token` as helpers find it. Changes what this process starts from now on: also with a copy of its environment that
// was taken before, but for another runmain's token.
function hide(token) {
  const hidden = token.replace(/[^:]+(:[^:]*)$/, '-$1');
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

module.exports = { hide };
