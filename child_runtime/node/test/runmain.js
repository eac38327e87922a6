// Runs a program under a real runmain, with a collector that keeps what comes.
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { spawn, execFileSync } = require('node:child_process');
const { fields } = require('./protobuf');

const kRegister = path.resolve(__dirname, '../register.js');
const kWaitMs = 60000;

// RUNMAIN_BIN, or the newest build.
function binaries() {
  if (process.env.RUNMAIN_BIN) return process.env.RUNMAIN_BIN;
  const builds = path.resolve(__dirname, '../../../build');
  const found = fs
    .readdirSync(builds)
    .map((name) => path.join(builds, name, 'bin/runmain'))
    .filter((file) => fs.existsSync(file))
    .sort((a, b) => fs.statSync(b).mtimeMs - fs.statSync(a).mtimeMs);
  if (found.length === 0) throw new Error('no runmain below build/: build it, or set RUNMAIN_BIN');
  return path.dirname(found[0]);
}

async function until(what, condition, ms = kWaitMs) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

const textOf = (value) => (Buffer.isBuffer(value) ? value.toString() : String(value));

function attributesOf(list, field) {
  const found = {};
  for (const one of list) {
    if (one.field !== field) continue;
    const [key, value] = fields(one.value);
    const [inner] = fields(value.value);
    found[textOf(key.value)] = inner === undefined ? '' : textOf(inner.value);
  }
  return found;
}

function spansOf(body) {
  const spans = [];
  for (const all of fields(body)) {
    const parts = fields(all.value);
    const resource = parts.find((f) => f.field === 1);
    const of = resource ? attributesOf(fields(resource.value), 1) : {};
    for (const scope of parts.filter((f) => f.field === 2)) {
      for (const span of fields(scope.value).filter((f) => f.field === 2)) {
        const f = fields(span.value);
        const get = (n) => (f.find((x) => x.field === n) || {}).value;
        spans.push({
          id: get(2).toString('hex'),
          name: textOf(get(5)),
          kind: Number(get(6)),
          resource: of,
          attributes: attributesOf(f, 9),
        });
      }
    }
  }
  return spans;
}

class World {
  constructor() {
    this.spans = [];
    this.others = ''; // of metrics and logs, the bytes
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'runmain-node-'));
    this.output = '';
  }

  // `services`: the text of the file behind [telemetry].
  async start(services) {
    this.collector = http.createServer((request, response) => {
      const parts = [];
      request.on('data', (part) => parts.push(part));
      request.on('end', () => {
        const body = Buffer.concat(parts);
        if (request.url === '/v1/traces') this.spans.push(...spansOf(body));
        else this.others = (this.others + body.toString('latin1')).slice(-100000);
        response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
      });
    });
    await new Promise((resolve) => this.collector.listen(0, '127.0.0.1', resolve));
    const endpoint = `http://127.0.0.1:${this.collector.address().port}`;
    const file = path.join(this.folder, 'supervisor.toml');
    fs.writeFileSync(file, `[telemetry]\nendpoint = "${endpoint}"\n${services}`);
    this.runmain = spawn(path.join(binaries(), 'runmain'), [...this.where(), 'up'], {
      cwd: this.folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.ended = new Promise((resolve) => this.runmain.on('exit', resolve));
    for (const stream of [this.runmain.stdout, this.runmain.stderr]) {
      stream.on('data', (text) => (this.output = (this.output + text).slice(-20000)));
    }
  }

  failIfEnded() {
    if (this.runmain.exitCode !== null) throw new Error('runmain has ended');
  }

  where() {
    return ['--runtime-dir', path.join(this.folder, 'rt'), '--state-dir', path.join(this.folder, 'st')];
  }

  ask(...args) {
    return execFileSync(path.join(binaries(), 'runmain'), [...this.where(), ...args], { cwd: this.folder, encoding: 'utf8' });
  }

  serverSpans() {
    return this.spans.filter((span) => span.kind === 2 && span.resource['service.name'] !== 'runmain');
  }

  async stop() {
    if (this.runmain && this.runmain.exitCode === null) {
      this.runmain.kill('SIGTERM');
      await this.ended;
    }
    if (this.collector) {
      this.collector.closeAllConnections();
      this.collector.close();
    }
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

// A whole answer, or undefined.
function get(port, where) {
  return new Promise((resolve) => {
    const request = http.get({ host: '127.0.0.1', port, path: where, agent: false, timeout: 20000 }, (response) => {
      let text = '';
      response.on('data', (part) => (text += part));
      response.on('end', () => resolve(text));
      response.on('error', () => resolve(undefined));
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(undefined));
  });
}

module.exports = { World, until, freePort, get, spansOf, kRegister };
