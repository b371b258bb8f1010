// The suite's client. Its specs name only a cluster, so the addresses are added here.
const PusherIntegration = require('pusher_integration_class').default;

module.exports = class extends PusherIntegration {
  constructor(key, options) {
    super(key, { ...options, ...globalThis.clarim.options });
  }
};
