// The packages that tests need, at fixed versions, in the build folder. Where the registry cannot be reached
// the test fails with npm's reason.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { execFileSync } = require('node:child_process');

const kRoot = path.resolve(process.env.RUNMAIN_TEST_PACKAGES || path.join(__dirname, '../../../build/node_packages'));
const kInstallMs = 300000;

const kSets = {
  current: {
    '@opentelemetry/api': '1.9.0',
    '@opentelemetry/auto-instrumentations-node': '0.81.2',
    '@opentelemetry/sdk-node': '0.223.0',
    '@opentelemetry/sdk-trace-base': '2.12.1',
    '@opentelemetry/otlp-transformer': '0.223.1',
    '@opentelemetry/exporter-trace-otlp-http': '0.223.0',
    '@opentelemetry/exporter-metrics-otlp-http': '0.223.0',
    '@opentelemetry/exporter-logs-otlp-proto': '0.223.0',
    express: '5.1.0',
  },
  old: {
    '@opentelemetry/api': '1.9.0',
    '@opentelemetry/sdk-node': '0.52.1',
    '@opentelemetry/sdk-trace-base': '1.25.1',
    '@opentelemetry/sdk-trace-node': '1.25.1',
    '@opentelemetry/otlp-transformer': '0.52.1',
    '@opentelemetry/exporter-trace-otlp-http': '0.52.1',
    '@opentelemetry/instrumentation-http': '0.52.1',
  },
};

// The folder in which `set` is installed.
function packages(set) {
  const folder = path.join(kRoot, set);
  const wanted = JSON.stringify({ private: true, dependencies: kSets[set] });
  const stamp = path.join(folder, 'installed.json');
  if (fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === wanted) return folder;
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, 'package.json'), wanted);
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: kInstallMs,
  });
  fs.writeFileSync(stamp, wanted);
  return folder;
}

function load(set) {
  return require('node:module').createRequire(path.join(packages(set), 'x.js'));
}

module.exports = { packages, load };
