// The program that Node was told to run: where it is, and of which kind of module.
'use strict';

const fs = require('node:fs');
const path = require('node:path');

function programFolder() {
  const main = process.argv[1];
  if (!main) return process.cwd();
  try {
    return path.dirname(fs.realpathSync(main));
  } catch {
    return path.dirname(path.resolve(main));
  }
}

function isModuleProgram() {
  const main = process.argv[1] || '';
  if (/\.[mc][jt]s$/.test(main)) return /\.m[jt]s$/.test(main);
  for (let folder = programFolder(); ; folder = path.dirname(folder)) {
    try {
      return JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8')).type === 'module';
    } catch (error) {
      if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') return false;
    }
    if (folder === path.dirname(folder)) return false;
  }
}

module.exports = { programFolder, isModuleProgram };
