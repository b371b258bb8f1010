// The suite's module `integration`, with the URLs of our backend.
module.exports = { ...require('helpers/integration'), ...globalThis.clarim.integration };
