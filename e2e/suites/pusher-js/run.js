// The entry of the bundle. Jasmine is loaded before it, and the test has set `globalThis.clarim`: transport,
// forceTLS, the URLs of the backend (`integration`), the client's `options`, and the function `report`.

// pusher-js's modules import each other in circles, and need this one first.
import 'core/pusher';
import specs from 'specs';

const { transport, forceTLS, report } = globalThis.clarim;

// For a busy machine.
jasmine.DEFAULT_TIMEOUT_INTERVAL = 60_000;
const env = jasmine.getEnv();
// As in spec/config: specs share their connections.
env.configure({ random: false, failSpecWithNoExpectations: false });

const failures = ({ failedExpectations }) => failedExpectations.map(({ message, stack }) => `${message}\n${stack}`);
env.addReporter({
  specDone: (spec) => report({ name: spec.fullName, status: spec.status, failures: failures(spec) }),
  suiteDone: (suite) => {
    if (suite.failedExpectations.length) report({ name: suite.fullName, status: 'failed', failures: failures(suite) });
  },
  jasmineDone: (all) => report({ status: all.overallStatus, failures: failures(all) }),
});

for (const load of Object.values(specs)) {
  const spec = load();
  // Specs of the DOM describe themselves when they are loaded.
  if (typeof spec === 'function') spec([{ transport, forceTLS }]);
}
env.execute();
