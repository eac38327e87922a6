// A worker's side of runmain's channel (docs/contract.md): the claim, ready, counts, drain. Without RUNMAIN_TOKEN
// nothing is said to anybody.
'use strict';
const net = require('net');

const LINE_MAX = 4096;  // bytes, newline included

class Channel {
  // `onDrain` is called when runmain asks for it.
  constructor(onDrain) {
    this.onDrain = onDrain;
    this.socket = null;
    this.text = '';
  }

  // True if this process serves. Waits for the answer.
  claim() {
    const nonce = (process.env.RUNMAIN_TOKEN || '').split(':').at(-2);
    const name = process.env.RUNMAIN_CHANNEL;
    if (!nonce || !name) return Promise.resolve(true);
    return new Promise((resolve) => {
      this.resolve = resolve;
      this.socket = net.connect(name[0] === '@' ? '\0' + name.slice(1) : name);
      this.socket.setTimeout(5000, () => this.lost());
      this.socket.on('connect', () => this.say({claim: {
        nonce, pid: process.pid, runtime: 'node', version: process.versions.node, explicit: true}}));
      this.socket.on('data', (bytes) => this.read(bytes));
      this.socket.on('error', () => this.lost());
      this.socket.on('close', () => this.lost());
    });
  }

  // An end of the channel changes no role; before the answer it means that nobody is there, and we serve by LISTEN_FDS.
  lost() {
    if (this.socket) this.socket.destroy();
    this.socket = null;
    this.resolve(true);
  }

  say(words) {
    if (this.socket) this.socket.write(JSON.stringify({v: 1, ...words}) + '\n');
  }

  read(bytes) {
    this.text += bytes.toString('latin1');  // only ASCII keys are looked for
    for (let end; (end = this.text.indexOf('\n')) >= 0; this.text = this.text.slice(end + 1)) {
      let words = {};
      try { words = JSON.parse(this.text.slice(0, end)); } catch { continue; }
      if (words.role) { this.socket.setTimeout(0); this.socket.unref(); this.resolve(true); }
      if (words.refused) { console.error('not to serve:', words.refused.why); this.resolve(false); }
      if (words.drain) this.onDrain();
    }
    if (this.text.length > LINE_MAX) this.lost();
  }
}

module.exports = {Channel};
