// The channel (docs/contract.md): the claim, what comes after it, and what the process says of itself.
//
// Invariant: the nonce goes only to a socket of root's or our own user's; the connection keeps no process
// alive that waits for nothing else; lines are bounded. Non-goal: receiving fds, which Node cannot: sockets
// are those of LISTEN_FDS, and the mailbox comes by path.
'use strict';

const fs = require('node:fs');
const net = require('node:net');

const kLineMax = 4096;
const kAnswerMs = 5000;
const kMailboxLineMs = 50; // it comes with the role, or the runmain is one that does not send it
const kPauseMs = 1; // between two looks of readNow()
const kVersion = '0.1.0'; // of package.json, which is not worth a read

// No span of the program's: not even of a provider that knows nothing of suppressed tracing.
const connect = require('./early').unwrapped.connect || net.Socket.prototype.connect;

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
    this.grant = undefined;
    this.ignored = 0;
  }

  // Calls `answered`, once, with { state: 'granted' | 'refused' | 'unreachable', role, mailbox, why }: later,
  // or within readNow().
  claim(name, nonce, explicit, answered) {
    const fail = (why) => this.answer && this.answer({ state: 'unreachable', why });
    const timer = (this.timer = setTimeout(() => fail(`no answer within ${kAnswerMs} ms`), kAnswerMs));
    this.answer = (result) => {
      this.answer = undefined;
      clearTimeout(timer);
      clearTimeout(this.late);
      if (this.socket) this.socket.unref();
      if (result.state !== 'granted' && this.socket) this.socket.destroy();
      answered(result);
    };
    const claim = { nonce, pid: process.pid, runtime: 'node', version: kVersion, explicit, mailbox: 'path' };
    try {
      if (!isTrusted(name)) throw new Error('held by a foreign user');
      this.open(name, fail);
      this.say({ claim });
    } catch (error) {
      process.nextTick(fail, error.message);
    }
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
  }

  // Where no turn of the event loop comes any more (the process ends): the answer, if it comes within `ms`.
  readNow(ms) {
    const fd = this.socket && this.socket._handle && this.socket._handle.fd;
    const bytes = Buffer.alloc(kLineMax);
    const pause = new Int32Array(new SharedArrayBuffer(4));
    const end = Date.now() + ms;
    while (fd >= 0 && this.answer && Date.now() < end) {
      try {
        const size = fs.readSync(fd, bytes, 0, kLineMax, null);
        if (size === 0) break;
        this.take(bytes.toString('utf8', 0, size));
      } catch (error) {
        if (error.code !== 'EAGAIN') break;
        Atomics.wait(pause, 0, 0, kPauseMs);
      }
    }
    if (this.answer && this.grant) this.answer(this.grant);
    if (this.answer && this.socket) {
      this.timer.unref(); // nobody waits for more
      this.socket.unref();
    }
  }

  take(text) {
    this.text += text;
    for (;;) {
      const end = this.text.indexOf('\n');
      if (end < 0) break;
      const line = this.text.slice(0, end);
      this.text = this.text.slice(end + 1);
      let said;
      try {
        said = JSON.parse(line);
      } catch {
        said = {};
      }
      this.handle(said || {});
    }
    if (this.text.length > kLineMax && this.socket) this.socket.destroy();
  }

  handle(line) {
    if (line.role && this.answer && !this.grant) {
      this.grant = { state: 'granted', role: line.role };
      if (!line.role.mailbox) return this.answer(this.grant);
      this.late = setTimeout(() => this.answer && this.answer(this.grant), kMailboxLineMs);
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

  // False: there is no connection. The first bytes are on their way at once: what waits for them would else
  // wait for a turn of the event loop, which may be long while a program starts.
  say(what) {
    const { socket } = this;
    if (!socket || socket.destroyed) return false;
    const line = `${JSON.stringify({ v: 1, ...what })}\n`;
    if (!this.sayNow(line)) socket.write(line);
    return true;
  }

  sayNow(line) {
    const { socket } = this;
    const fd = socket._handle && socket._handle.fd;
    if (!(fd >= 0) || socket.writableLength > 0) return false;
    const bytes = Buffer.from(line);
    try {
      const size = fs.writeSync(fd, bytes);
      if (size < bytes.length) socket.write(bytes.subarray(size));
      return true;
    } catch {
      return false;
    }
  }
}

module.exports = { Channel };
