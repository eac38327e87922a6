// A connection to the observer's receiver: a request at a time, written at once, and as much of HTTP/1.1 as its answers
// need. It keeps the process alive while it waits for one, and not while it rests.
'use strict';

const fs = require('node:fs');
const net = require('node:net');

const kTimeoutMs = 12000; // the receiver says by itself after 10 s that it cannot keep it
const kAnswerMax = 64 << 10;

// Of an answer that is there as a whole: { status, keeps }; undefined: there is more to come.
function readAnswer(text) {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const head = text.slice(0, end).toLowerCase();
  const body = text.length - end - 4;
  const length = /\r\ncontent-length: *(\d+)/.exec(head);
  if (length && body < Number(length[1])) return undefined;
  if (!length && /\r\ntransfer-encoding: *chunked/.test(head) && !/(^|\r\n)0\r\n\r\n$/.test(text.slice(end + 4))) return undefined;
  return { status: Number(head.slice(9, 12)), keeps: !/\r\nconnection: *close/.test(head) };
}

class Connection {
  constructor(receiver, host, port) {
    this.receiver = receiver;
    this.isConnecting = true;
    this.isUsed = false; // has had an answer
    this.request = undefined; // { signal, body } that has no answer yet
    this.text = '';
    const socket = (this.socket = new net.Socket());
    socket.setNoDelay(true);
    socket.setTimeout(kTimeoutMs);
    socket.on('connect', () => {
      this.isConnecting = false;
      socket.unref();
      receiver.opened();
    });
    socket.on('data', (bytes) => this.take(bytes));
    socket.on('timeout', () => this.late());
    socket.on('error', () => {});
    socket.on('close', () => this.closed());
    (require('./early').unwrapped.connect || socket.connect).call(socket, port, host);
  }

  rests() {
    return !this.isConnecting && !this.request && !this.socket.destroyed;
  }

  post(head, body, signal) {
    this.request = { signal, body };
    this.socket.ref();
    const first = Buffer.from(`${head}content-length: ${body.length}\r\n\r\n`);
    const written = this.writeNow(first, body);
    if (written < first.length + body.length) this.socket.write(Buffer.concat([first, body]).subarray(written));
  }

  // How many bytes the kernel has taken.
  writeNow(...parts) {
    const { _handle: handle, writableLength } = this.socket;
    if (!handle || !(handle.fd >= 0) || writableLength > 0) return 0;
    try {
      return fs.writevSync(handle.fd, parts);
    } catch {
      return 0; // no room; or what socket.write() will say
    }
  }

  take(bytes) {
    this.text += bytes.toString('latin1');
    const answer = readAnswer(this.text);
    if (this.text.length > kAnswerMax || !this.request) return this.socket.destroy();
    if (!answer) return undefined;
    const { request } = this;
    this.request = undefined;
    this.text = '';
    this.isUsed = true;
    if (answer.keeps) this.socket.unref();
    else this.socket.destroy();
    return this.receiver.answered(request, answer.status);
  }

  late() {
    if (!this.request && !this.isConnecting) return; // it rests
    this.isUsed = false;
    this.socket.destroy();
  }

  closed() {
    const { request } = this;
    this.request = undefined;
    if (this.isConnecting) return this.receiver.refused(this);
    const hadRested = this.isUsed && this.text === '';
    if (request && hadRested) this.receiver.unsent(request.signal, request.body);
    else if (request) this.receiver.answered(request, 0);
    return this.receiver.closed(this);
  }
}

module.exports = { Connection, readAnswer };
