import './style.css';
import { createInertiaApp, http } from '@inertiajs/vue3';
import { ClarimVue, createEcho } from '@clarim/vue';
import Layout from './Layout.vue';

const pages = import.meta.glob('./pages/*.vue', { eager: true });

// The application and the server have the same address. Runs in browsers only.
const echo = () => createEcho({
  key: 'inertia-key',
  host: location.hostname,
  port: location.port,
  scheme: location.protocol === 'https:' ? 'https' : 'http',
});

export default createInertiaApp({
  resolve: (name) => pages[`./pages/${name}.vue`],
  layout: (name) => (name === 'Login' ? null : Layout),
  // With `http`, the requests of Inertia have the header X-Socket-ID.
  withApp: (app) => app.use(ClarimVue, { echo, http }),
});
