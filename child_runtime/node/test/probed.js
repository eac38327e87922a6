// Runs programs with the probe of `runmain doctor`, and reads what they wrote; a receiver stands in for doctor's.
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { spawn } = require('node:child_process');
const { packages } = require('./packages');

const kProbe = path.resolve(__dirname, '../probe.js');
const kQuiet = { OTEL_METRICS_EXPORTER: 'none', OTEL_LOGS_EXPORTER: 'none', OTEL_NODE_RESOURCE_DETECTORS: 'none' };

// What a program begins with: `load(name)` from the packages of `set`.
function prelude(set) {
  return `const load = require('node:module').createRequire(${JSON.stringify(path.join(packages(set), 'x.js'))});\n`;
}

// A processor to a new provider, as each version has it.
const kProvider = `
const { BasicTracerProvider, BatchSpanProcessor, SimpleSpanProcessor } = load('@opentelemetry/sdk-trace-base');
function providerOf(...processors) {
  if (!BasicTracerProvider.prototype.addSpanProcessor) return new BasicTracerProvider({ spanProcessors: processors });
  const provider = new BasicTracerProvider();
  for (const one of processors) provider.addSpanProcessor(one);
  return provider;
}\n`;

class Probed {
  constructor(t, set = 'current') {
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'runmain-probe-'));
    this.records = path.join(this.folder, 'records');
    fs.mkdirSync(this.records);
    fs.symlinkSync(path.join(packages(set), 'node_modules'), path.join(this.folder, 'node_modules'));
    this.requests = []; // { path, headers, body }
    this.server = http.createServer((request, response) => {
      const parts = [];
      request.on('data', (part) => parts.push(part));
      request.on('end', () => {
        this.requests.push({ path: request.url, headers: request.headers, body: Buffer.concat(parts) });
        response.end();
      });
    });
    this.children = [];
    t.after(() => {
      for (const child of this.children) child.kill('SIGKILL');
      for (const pid of Object.keys(this.all())) this.endLeft(pid);
      this.server.closeAllConnections();
      this.server.close();
      fs.rmSync(this.folder, { recursive: true, force: true });
    });
  }

  // `program`: its text, in `name` of the folder. `before`: files that NODE_OPTIONS require after the probe.
  async start(program, { env = {}, name = 'program.js', args = [], before = [] } = {}) {
    if (!this.server.listening) await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    const file = path.join(this.folder, name);
    fs.writeFileSync(file, program);
    const options = [kProbe, ...before].map((one) => `--require ${one}`).join(' ');
    const child = spawn(process.execPath, [...args, file], {
      env: {
        ...process.env,
        ...kQuiet,
        NODE_OPTIONS: options,
        RUNMAIN_DOCTOR: this.records,
        RUNMAIN_DOCTOR_ENDPOINT: `http://127.0.0.1:${this.server.address().port}`,
        RUNMAIN_DOCTOR_HEADERS: 'runmain-doctor=a%20b,more=c=d',
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.children.push(child);
    child.said = child.complained = '';
    child.stdout.on('data', (text) => (child.said += text));
    child.stderr.on('data', (text) => (child.complained += text));
    child.ended = new Promise((resolve) => child.on('close', (code, signal) => resolve(signal || code)));
    return child;
  }

  async run(program, options) {
    const child = await this.start(program, options);
    return { how: await child.ended, said: child.said, complained: child.complained, pid: child.pid };
  }

  // What a child has started outlives its SIGKILL.
  endLeft(pid) {
    try {
      if (fs.readFileSync(`/proc/${pid}/environ`).includes(this.records)) process.kill(pid, 'SIGKILL');
    } catch {
      // it has ended
    }
  }

  // { pid: its records }
  all() {
    const found = {};
    for (const name of fs.readdirSync(this.records)) {
      const lines = fs.readFileSync(path.join(this.records, name), 'utf8').split('\n').filter(Boolean);
      found[parseInt(name, 10)] = lines.map((line) => JSON.parse(line));
    }
    return found;
  }

  // Of one process: those of these kinds.
  of(pid, ...kinds) {
    return (this.all()[pid] || []).filter((one) => kinds.length === 0 || kinds.includes(one.k));
  }
}

module.exports = { Probed, prelude, kProvider, kProbe };
