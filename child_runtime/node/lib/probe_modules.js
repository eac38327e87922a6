// Sees the files of packages as Node loads them, by require and by import, and has those of OpenTelemetry wrapped
// before anyone can use what they export.
//
// Non-goal: SDKs inside a bundle; and packages of ES modules alone, of which OpenTelemetry has none for Node.
'use strict';

const Module = require('node:module');
const { readFileSync } = require('node:fs');
const path = require('node:path');
const { packageOf, kScope } = require('./probe_package');
const { wrap } = require('./probe_records');

// Told of when they are first loaded: what makes spans, what serves, what starts others, and who else traces.
const kTold = new Set(
  (
    '@opentelemetry/api @opentelemetry/sdk-node @opentelemetry/sdk-trace @opentelemetry/sdk-trace-base @opentelemetry/sdk-trace-node ' +
    '@opentelemetry/instrumentation @opentelemetry/auto-instrumentations-node @opentelemetry/exporter-trace-otlp-http ' +
    '@opentelemetry/exporter-trace-otlp-proto @opentelemetry/exporter-trace-otlp-grpc express fastify koa @hapi/hapi ' +
    '@nestjs/core next restify connect nodemon tsx ts-node pm2 @vercel/otel @sentry/node dd-trace newrelic elastic-apm-node'
  ).split(' '),
);

class Loaded {
  constructor(records, env) {
    this.records = records;
    this.env = env;
    this.folders = new Set();
    this.names = new Set();
    this.hooks = undefined;
  }

  before({ name, folder }) {
    if (this.folders.has(folder)) return;
    this.folders.add(folder);
    this.names.add(name);
    if (!kTold.has(name)) return;
    const { version } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
    this.records.write('package', { name, version, path: folder });
  }

  after({ name }, exports) {
    if (!name.startsWith(kScope) || exports === null || typeof exports !== 'object') return;
    if (!this.hooks) this.hooks = require('./probe_sdk').hooks(this.records, this.env, this.names);
    this.hooks.loaded(name.slice(kScope.length), exports);
  }
}

function install(records, env) {
  const loaded = new Loaded(records, env);
  wrap(Module.prototype, '_compile', (compile) => function (content, file) {
    const of = records.safely(() => packageOf(file));
    if (of === undefined) return compile.apply(this, arguments);
    records.safely(() => loaded.before(of));
    const result = compile.apply(this, arguments);
    records.safely(() => loaded.after(of, this.exports));
    return result;
  });
}

module.exports = { install };
