import { Extension } from '@tiptap/core';
import { Plugin, TextSelection } from '@tiptap/pm/state';
import { getRelativeSelection, relativePositionToAbsolutePosition, ySyncPluginKey, yUndoPluginKey } from '@tiptap/y-tiptap';
import type { UndoManager } from 'yjs';

type Place = ReturnType<typeof getRelativeSelection>;
type Binding = Parameters<typeof getRelativeSelection>[0];

interface StackEvent {
	type: 'undo' | 'redo';
	stackItem: { meta: Map<unknown, unknown> };
}

/**
 * Puts the caret where it was when the redone edit was undone. The library puts it where it was before the edit was
 * made. It also keeps that place for the next change of another user, at which the caret would jump.
 */
export const RedoCaret = Extension.create({
	name: 'redoCaret',
	// After the library's own listeners.
	priority: 1,
	addProseMirrorPlugins: () => [new Plugin({
		view(view) {
			const manager: UndoManager | undefined = yUndoPluginKey.getState(view.state)?.undoManager;
			const binding = (): Binding | undefined => ySyncPluginKey.getState(view.state)?.binding;
			const place = {};
			const added = ({ type, stackItem }: StackEvent) => {
				if (type === 'redo') stackItem.meta.set(place, binding()?.beforeTransactionSelection);
			};
			const popped = ({ type, stackItem }: StackEvent) => {
				const now = binding();
				if (!now) return;
				Object.assign(now, { beforeTransactionSelection: null });
				const wanted = stackItem.meta.get(place) as Place | undefined;
				if (type !== 'redo' || !wanted?.anchor || !wanted.head) return;
				const [anchor, head] = [wanted.anchor, wanted.head]
					.map((position) => relativePositionToAbsolutePosition(now.doc, now.type, position, now.mapping));
				if (anchor == null || head == null) return;
				view.dispatch(view.state.tr.setSelection(TextSelection.between(view.state.doc.resolve(anchor), view.state.doc.resolve(head))));
			};
			manager?.on('stack-item-added', added as never);
			manager?.on('stack-item-popped', popped as never);
			return {
				destroy() {
					manager?.off('stack-item-added', added as never);
					manager?.off('stack-item-popped', popped as never);
				},
			};
		},
	})],
});
