// What the script of supervisor/web/live_reload.cpp does in a page. usage: node live_script.js live_reload.cpp
const assert = require('assert');
const fs = require('fs');
const vm = require('vm');

const script = fs.readFileSync(process.argv[2], 'utf8').match(/R"\(([^]*?)\)";/)[1];

class Page {
  constructor(visibility) {
    this.sources = [];
    this.reloads = 0;
    const page = this;
    this.document = {
      currentScript: {src: 'http://127.0.0.1:35729/live.js'},
      visibilityState: visibility,
      addEventListener(name, follow) { page[name] = follow; },
    };
    vm.runInNewContext(script, {
      URL,
      document: this.document,
      location: {reload() { ++page.reloads; }},
      EventSource: class {
        constructor(address) { this.address = String(address); page.sources.push(this); }
        close() { this.closed = true; }
      },
    });
  }
  show(visibility) { this.document.visibilityState = visibility; this.visibilitychange(); }
  open() { return this.sources.filter(source => !source.closed); }
  hear(data) { for (const source of this.open()) source.onmessage({data}); }
}

const page = new Page('visible');
assert.strictEqual(page.open().length, 1);
assert.strictEqual(page.open()[0].address, 'http://127.0.0.1:35729/events');
page.hear('1');
page.hear('1');  // a reconnect
assert.strictEqual(page.reloads, 0);
page.show('hidden');
assert.strictEqual(page.open().length, 0, 'a tab that nobody looks at holds a connection');
page.show('hidden');
page.show('visible');
page.show('visible');
assert.strictEqual(page.open().length, 1);
page.hear('1');
assert.strictEqual(page.reloads, 0);
page.show('hidden');
page.show('visible');
page.hear('2');  // it was missed meanwhile
assert.strictEqual(page.reloads, 1);

const behind = new Page('hidden');
assert.strictEqual(behind.open().length, 0);
behind.show('visible');
behind.hear('1');
behind.hear('2');
assert.strictEqual(behind.reloads, 1);
