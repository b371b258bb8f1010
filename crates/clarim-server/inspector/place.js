// What the page shows, as its address has it: `#channels?q=orders&channel=presence-chat.1`. So reloads, links and
// the back button work.

/** Returns the tab and its parameters. */
export function place() {
	const [tab, query = ''] = location.hash.slice(1).split('?');
	return { tab, params: Object.fromEntries(new URLSearchParams(query)) };
}

export function address(tab, params = {}) {
	const given = Object.entries(params).filter(([, value]) => value != null && value !== '');
	const query = new URLSearchParams(given);
	return query.size ? `#${tab}?${query}` : `#${tab}`;
}

/** Goes to a place. With `isSame`, the back button skips the present one, as with each letter of a filter. */
export function go(tab, params, isSame = false) {
	const to = address(tab, params);
	if (to === location.hash) return;
	history[isSame ? 'replaceState' : 'pushState'](null, '', to);
	dispatchEvent(new Event('place'));
}
