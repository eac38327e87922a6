// What an object or a function holds that no code outside of it can read: the variables that a function's text
// names, private fields, what is bound, a proxy's target. Read with Node's inspector, which is part of it and
// answers within this thread at once; opens no port.
//
// Invariant: nothing of the program's runs. Where there is no inspector nothing is found. Non-goal: `this` of an
// arrow function, which even the inspector does not show.
'use strict';

const kKey = Symbol.for('runmain.inside.1');
const kThing = "globalThis[Symbol.for('runmain.inside.1')].thing";
const kKeep = "function (...all) { globalThis[Symbol.for('runmain.inside.1')].found.push(...all); }";
const kParts = ['[[TargetFunction]]', '[[BoundThis]]', '[[BoundArgs]]', '[[Target]]', '[[Handler]]'];

function openSession() {
  try {
    const { Session } = require('node:inspector');
    const session = new Session();
    session.connect();
    return session;
  } catch {
    return undefined; // a Node that was built or started without
  }
}

function names(text, variable) {
  return new RegExp(`(?<![\\w$])${variable.replace(/\$/g, '\\$')}(?![\\w$])`).test(text);
}

class Inside {
  // Everything that `thing` holds in hidden places.
  of(thing) {
    if (this.session === undefined) this.session = openSession() || null;
    if (this.session === null) return [];
    globalThis[kKey] = { thing, found: [] };
    try {
      const { result } = this.ask('Runtime.evaluate', { expression: kThing });
      const ids = this.idsIn(result.objectId, typeof thing === 'function' ? Function.prototype.toString.call(thing) : '');
      const held = ids.map((objectId) => ({ objectId }));
      this.ask('Runtime.callFunctionOn', { objectId: result.objectId, functionDeclaration: kKeep, arguments: held });
      return globalThis[kKey].found;
    } catch {
      return [];
    } finally {
      delete globalThis[kKey];
    }
  }

  close() {
    if (this.session) this.session.disconnect();
  }

  ask(method, values) {
    let answer;
    this.session.post(method, values, (error, result) => (answer = error ? undefined : result));
    return answer;
  }

  properties(objectId) {
    return this.ask('Runtime.getProperties', { objectId, ownProperties: true, nonIndexedPropertiesOnly: true });
  }

  idsIn(objectId, text) {
    const { internalProperties = [], privateProperties = [] } = this.properties(objectId);
    const isPart = (one) => kParts.includes(one.name);
    const found = [...privateProperties, ...internalProperties.filter(isPart)].flatMap(idOf);
    const scopes = internalProperties.find((one) => one.name === '[[Scopes]]');
    return scopes ? [...found, ...this.variablesIn(scopes.value.objectId, text)] : found;
  }

  variablesIn(scopesId, text) {
    const all = this.ask('Runtime.getProperties', { objectId: scopesId, ownProperties: true }).result;
    const near = all.filter((scope) => scope.value && scope.value.objectId && scope.value.description !== 'Global');
    const variables = near.flatMap((scope) => this.properties(scope.value.objectId).result);
    return variables.filter((one) => names(text, one.name)).flatMap(idOf);
  }
}

function idOf(property) {
  return property.value && property.value.objectId ? [property.value.objectId] : [];
}

module.exports = { Inside };
