// Applies the user's theme choice, or the system's theme.
(() => {
	const dark = matchMedia('(prefers-color-scheme: dark)');
	const apply = () => {
		let chosen = null;
		try {
			chosen = localStorage.getItem('theme');
		} catch {
			// The storage is forbidden.
		}
		const theme = chosen === 'light' || chosen === 'dark' ? chosen : dark.matches ? 'dark' : 'light';
		document.documentElement.dataset.theme = theme;
	};
	apply();
	dark.addEventListener('change', apply);
	addEventListener('themechange', apply);
})();
