// A stand-in for runmain's channel: answers the claims of one child as a test says, with a mailbox of a plain
// file, whose records can be read back.
'use strict';

const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { spawn } = require('node:child_process');
const { kRegister } = require('./runmain');
const { makeMailbox } = require('./mailbox_file');

class Channel {
  // `answer`: 'grant', 'refuse', 'none', or 'first': as runmain does, who has not asked explicitly is refused if
  // another one has the role. `after`: milliseconds.
  constructor(t, { answer = 'grant', after = 0 } = {}) {
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'runmain-node-'));
    this.mailbox = path.join(this.folder, 'mailbox');
    makeMailbox(this.mailbox);
    this.claims = [];
    this.answer = answer;
    this.after = after;
    this.server = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', (text) => this.claimed(socket, JSON.parse(text.toString()).claim));
    });
    this.children = [];
    t.after(() => {
      for (const child of this.children) child.kill('SIGKILL');
      this.server.close();
      fs.rmSync(this.folder, { recursive: true, force: true });
    });
  }

  claimed(socket, claim) {
    this.claims.push({ ...claim, at: Date.now() });
    const number = this.claims.length - 1;
    if (this.answer === 'none') return;
    const isGranted = this.answer === 'grant' || (this.answer === 'first' && (number === 0 || claim.explicit));
    this.claims[number].isGranted = isGranted;
    const role = { service: 'web', slot: 0, generation: 1, instance_id: 'an-id', listeners: [], mailbox: true };
    const lines = isGranted ? [{ role }, { mailbox: { path: this.mailbox, claim: number } }] : [{ refused: { why: 'no' } }];
    setTimeout(() => {
      this.answeredAt = Date.now();
      socket.write(lines.map((line) => `${JSON.stringify({ v: 1, ...line })}\n`).join(''));
    }, this.after);
  }

  async start(program, env = {}, register = kRegister) {
    const name = path.join(this.folder, 'channel');
    if (!this.server.listening) await new Promise((resolve) => this.server.listen(name, resolve));
    const file = path.join(this.folder, 'server.js');
    fs.writeFileSync(file, program);
    const child = spawn(process.execPath, ['--require', register, file], {
      env: { ...process.env, RUNMAIN_TOKEN: '1:web:0:1:nonce:1', RUNMAIN_CHANNEL: name, RUNMAIN_AUTO: '0', ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.children.push(child);
    child.said = '';
    child.ended = new Promise((resolve) => child.on('exit', (code, signal) => resolve(signal || code)));
    child.firstLine = new Promise((resolve) => {
      child.stdout.on('data', (text) => {
        child.said += text;
        if (child.said.includes('\n')) resolve(child.said.split('\n')[0]);
      });
    });
    return child;
  }
}

module.exports = { Channel };
