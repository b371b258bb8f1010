import { ref, onMounted, onUnmounted } from 'vue';

export function useWebSocketStatus() {
	const isConnected = ref(false);
	const connectionState = ref('initialized');

	const handleStateChange = (states) => {
		connectionState.value = states.current;
		isConnected.value = states.current === 'connected';
	};

	onMounted(() => {
		Echo.connector.pusher.connection.bind('state_change', handleStateChange);
		isConnected.value = Echo.connector.pusher.connection.state === 'connected';
	});

	onUnmounted(() => {
		Echo.connector.pusher.connection.unbind('state_change', handleStateChange);
	});

	return {
		isConnected,
		connectionState,
	};
}
