import { ClarimVue } from '@clarim/vue';
import { createApp, watch } from 'vue';
import App from './App.vue';
import { i18n, language } from './i18n';
import { router } from './router';
import { connect } from './session';
import './style.css';

createApp(App).use(i18n).use(router).use(ClarimVue, { echo: connect }).mount('#app');

watch([() => router.currentRoute.value.meta.name, language], ([name]) => {
	document.title = name ? `${i18n.global.t(`nav.${name}`)} · Clarim` : 'Clarim';
}, { immediate: true });
