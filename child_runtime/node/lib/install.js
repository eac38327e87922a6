// Puts everything in its place in a process that may come to serve.
'use strict';

const { isMainThread } = require('node:worker_threads');
const { runtime } = require('./runtime');

function install() {
  const state = runtime();
  if (isMainThread) require('./listen').install();
  if (!state.telemetry) return;
  require('./sdk_hooks').install();
  if (!isMainThread) return;
  require('./signals').install();
  if (state.auto) require('./auto').install();
}

module.exports = { install };
