// The channel (docs/contract.md): the claim, what comes after it, and what the process says of itself.
//
// Invariant: the nonce goes only to a socket of root's or our own user's; the connection keeps no process
// alive; lines are bounded. Non-goal: receiving fds, which Node cannot: sockets are those of LISTEN_FDS, and
// the mailbox comes by path.
'use strict';

const fs = require('node:fs');
const net = require('node:net');

const kLineMax = 4096;
const kAnswerMs = 5000;
const kMailboxLineMs = 50; // it comes with the role, or the runmain is one that does not send it
const kVersion = require('../package.json').version;

const connect = net.Socket.prototype.connect; // instrumentation wraps it later

function isTrusted(name) {
  if (name.startsWith('@')) return true; // nothing says whose it is
  const { uid } = fs.statSync(name);
  return uid === 0 || uid === process.geteuid() || uid === process.getuid();
}

class Channel {
  constructor({ onDrain }) {
    this.onDrain = onDrain;
    this.socket = undefined;
    this.text = '';
    this.answer = undefined;
    this.ignored = 0;
  }

  // Resolves with { state: 'granted' | 'refused' | 'unreachable', role, mailbox, why }. Never rejects.
  claim(name, nonce, explicit) {
    return new Promise((resolve) => {
      let timer;
      const done = (result) => {
        if (!this.answer) return;
        this.answer = undefined;
        clearTimeout(timer);
        if (result.state !== 'granted' && this.socket) this.socket.destroy();
        resolve(result);
      };
      this.answer = done;
      const fail = (why) => done({ state: 'unreachable', why });
      timer = setTimeout(() => fail(`no answer within ${kAnswerMs} ms`), kAnswerMs);
      timer.unref();
      try {
        if (!isTrusted(name)) return fail('held by a foreign user');
        this.open(name, fail);
      } catch (error) {
        return fail(error.message);
      }
      const claim = { nonce, pid: process.pid, runtime: 'node', version: kVersion, explicit };
      return this.say({ claim });
    });
  }

  open(name, fail) {
    this.socket = new net.Socket();
    this.socket.setEncoding('utf8');
    this.socket.on('error', (error) => fail(error.message));
    this.socket.on('close', () => {
      this.socket = undefined;
      fail('closed without an answer');
    });
    this.socket.on('data', (text) => this.take(text));
    connect.call(this.socket, { path: name.startsWith('@') ? `\0${name.slice(1)}` : name });
    this.socket.unref();
  }

  take(text) {
    this.text += text;
    for (;;) {
      const end = this.text.indexOf('\n');
      if (end < 0) break;
      const line = this.text.slice(0, end);
      this.text = this.text.slice(end + 1);
      try {
        this.handle(JSON.parse(line));
      } catch {
        ++this.ignored;
      }
    }
    if (this.text.length > kLineMax && this.socket) this.socket.destroy();
  }

  handle(line) {
    if (line.role && this.answer) {
      const grant = { state: 'granted', role: line.role };
      if (!line.role.mailbox) return this.answer(grant);
      this.grant = grant;
      const answer = this.answer;
      setTimeout(() => answer(grant), kMailboxLineMs).unref();
    } else if (line.mailbox && this.grant && this.answer) {
      this.answer({ ...this.grant, mailbox: line.mailbox });
    } else if (line.refused && this.answer) {
      this.answer({ state: 'refused', why: line.refused.why || 'no reason given' });
    } else if (line.drain) {
      this.onDrain(Number(line.drain.budget_ms) || 0);
    } else {
      ++this.ignored;
    }
    return undefined;
  }

  // False: there is no connection.
  say(what) {
    if (!this.socket || this.socket.destroyed) return false;
    this.socket.write(`${JSON.stringify({ v: 1, ...what })}\n`);
    return true;
  }
}

module.exports = { Channel };
