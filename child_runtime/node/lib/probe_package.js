// Which package a file is of, by its path.
'use strict';

const path = require('node:path');

const kFolder = `${path.sep}node_modules${path.sep}`;
const kScope = '@opentelemetry/';
const kInstrumentation = /(?:^|[/-])instrumentation(?:-|$)/;

// { name, folder }, or undefined: a file of the program's.
function packageOf(file) {
  const at = file.lastIndexOf(kFolder);
  if (at < 0) return undefined;
  const parts = file.slice(at + kFolder.length).split(path.sep, 2);
  const name = parts[0].startsWith('@') ? parts.join('/') : parts[0];
  return { name, folder: file.slice(0, at + kFolder.length) + name };
}

// @opentelemetry/instrumentation-http, @prisma/instrumentation; not the base that these have.
function isInstrumentation(name) {
  return name !== `${kScope}instrumentation` && kInstrumentation.test(name);
}

// OpenTelemetry's API, SDK and what its instrumentations have in common.
function isTelemetry(name) {
  return name.startsWith(kScope) && !isInstrumentation(name);
}

module.exports = { packageOf, isInstrumentation, isTelemetry, kScope };
