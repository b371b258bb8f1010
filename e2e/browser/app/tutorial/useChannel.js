import { onMounted, onUnmounted, ref } from 'vue';

export function useChannel(channelName, events = {}) {
	const channel = ref(null);

	onMounted(() => {
		channel.value = Echo.channel(channelName);

		Object.entries(events).forEach(([event, callback]) => {
			channel.value.listen(event, callback);
		});
	});

	onUnmounted(() => {
		Echo.leaveChannel(channelName);
	});

	return channel;
}

export function usePrivateChannel(channelName, events = {}) {
	const channel = ref(null);

	onMounted(() => {
		channel.value = Echo.private(channelName);

		Object.entries(events).forEach(([event, callback]) => {
			channel.value.listen(event, callback);
		});
	});

	onUnmounted(() => {
		Echo.leaveChannel(`private-${channelName}`);
	});

	return channel;
}

export function usePresenceChannel(channelName, handlers = {}) {
	const channel = ref(null);
	const users = ref([]);

	onMounted(() => {
		channel.value = Echo.join(channelName)
			.here((initialUsers) => {
				users.value = initialUsers;
				handlers.here?.(initialUsers);
			})
			.joining((user) => {
				users.value.push(user);
				handlers.joining?.(user);
			})
			.leaving((user) => {
				users.value = users.value.filter(u => u.id !== user.id);
				handlers.leaving?.(user);
			});

		if (handlers.events) {
			Object.entries(handlers.events).forEach(([event, callback]) => {
				channel.value.listen(event, callback);
			});
		}
	});

	onUnmounted(() => {
		Echo.leaveChannel(`presence-${channelName}`);
	});

	return { channel, users };
}
