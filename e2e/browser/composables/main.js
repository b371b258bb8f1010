// Shows one example of the package's README: /News?prop=value. The server's address is in .env.

import nacl from 'tweetnacl';
import { createApp } from 'vue';
import { ClarimVue } from '@clarim/vue';

const examples = import.meta.glob('./src/*.vue', { eager: true, import: 'default' });
const { pathname, searchParams } = new URL(location.href);

createApp(examples[`./src${pathname}.vue`], Object.fromEntries(searchParams))
	.use(ClarimVue, { nacl })
	.mount('#app');
