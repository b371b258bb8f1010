import { computed, nextTick, ref, type Ref } from 'vue';
import { me } from '../../session';
import type { Thread } from '../conversations';

/** Completes `@` and the beginning of a member's name or login, right before the caret of the field. */
export function useMention(field: Readonly<Ref<HTMLTextAreaElement | null>>, thread: () => Thread, text: Ref<string>) {
	const written = ref<string | null>(null);
	const active = ref(0);
	/** The caret at the last look. The keyboard can move it. */
	let lookedAt = 0;
	const found = computed(() => {
		const query = written.value;
		if (query === null) return [];
		const members = thread().members.filter(({ id, login, name }) => id !== me().id
			&& [login, ...name.toLowerCase().split(' ')].some((word) => word.startsWith(query)));
		// It is complete.
		return members.length === 1 && members[0]!.login === query ? [] : members;
	});

	/** Looks at the text before the caret. */
	function look() {
		lookedAt = field.value?.selectionStart ?? 0;
		const before = text.value.slice(0, lookedAt);
		written.value = /(?<![\p{L}\p{N}_@])@([\p{L}\p{N}_]*)$/u.exec(before)?.[1]?.toLowerCase() ?? null;
		active.value = 0;
	}

	const lookIfMoved = () => {
		if (field.value?.selectionStart !== lookedAt) look();
	};

	const close = () => { written.value = null; };

	async function choose(login: string) {
		lookIfMoved();
		if (written.value === null) return;
		const caret = field.value!.selectionStart;
		const start = caret - written.value.length;
		close();
		text.value = `${text.value.slice(0, start)}${login} ${text.value.slice(caret)}`;
		await nextTick();
		field.value!.focus();
		field.value!.setSelectionRange(start + login.length + 1, start + login.length + 1);
	}

	/** Returns whether the key was for the list. */
	function onKey({ key, shiftKey, isComposing }: KeyboardEvent): boolean {
		lookIfMoved();
		const { length } = found.value;
		if (!length || shiftKey || isComposing) return false;
		if (key === 'ArrowDown') active.value = (active.value + 1) % length;
		else if (key === 'ArrowUp') active.value = (active.value + length - 1) % length;
		else if (key === 'Escape') close();
		else if (key === 'Enter' || key === 'Tab') void choose(found.value[active.value]!.login);
		else return false;
		return true;
	}

	return { found, active, look, close, choose, onKey };
}
