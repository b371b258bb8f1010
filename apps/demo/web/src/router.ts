import { createRouter, createWebHistory } from 'vue-router';
import { loadSession } from './session';

declare module 'vue-router' {
	interface RouteMeta {
		/** Page name, a key of `nav.*` in words.ts. */
		name?: 'chat' | 'notifications' | 'dashboard' | 'editor';
		/** Accessible without login. */
		open?: boolean;
	}
}

export const router = createRouter({
	history: createWebHistory(),
	routes: [
		{ path: '/login', component: () => import('./login/LoginPage.vue'), meta: { open: true } },
		{
			path: '/',
			component: () => import('./layout/AppLayout.vue'),
			redirect: '/chat',
			children: [
				{ path: 'chat/:conversation(\\d+)?', component: () => import('./chat/ChatPage.vue'), meta: { name: 'chat' } },
				{
					path: 'notifications',
					component: () => import('./notifications/NotificationsPage.vue'),
					meta: { name: 'notifications' },
				},
				{ path: 'dashboard', component: () => import('./dashboard/DashboardPage.vue'), meta: { name: 'dashboard' } },
				{ path: 'editor/:document(\\d+)?', component: () => import('./editor/EditorPage.vue'), meta: { name: 'editor' } },
				{ path: ':rest(.*)', component: () => import('./layout/MissingPage.vue') },
			],
		},
	],
});

router.beforeEach(async (to) => {
	const { user } = await loadSession();
	if (!user && !to.meta.open) return { path: '/login', query: to.path === '/' ? {} : { next: to.fullPath } };
	if (user && to.path === '/login') return '/';
	return true;
});
