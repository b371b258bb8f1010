import { ClarimVue } from '@clarim/vue';
import { createApp, watch } from 'vue';
import App from './App.vue';
import { i18n, language } from './i18n';
import { titleCount } from './layout/title';
import { router } from './router';
import { connect } from './session';
import './style.css';

createApp(App).use(i18n).use(router).use(ClarimVue, { echo: connect }).mount('#app');

watch([() => router.currentRoute.value.meta.name, language, titleCount], ([name, , count]) => {
	const title = name ? `${i18n.global.t(`nav.${name}`)} · Clarim` : 'Clarim';
	document.title = count > 0 ? `(${count}) ${title}` : title;
}, { immediate: true });
