import createServer from '@inertiajs/vue3/server';
import { renderToString } from 'vue/server-renderer';
import app from './app.js';

const render = await app;
const port = Number(process.env.SSR_PORT ?? 13714);
// For this computer only: anyone who reaches it could stop it.
createServer((page) => render(page, renderToString), { host: '127.0.0.1', port });
