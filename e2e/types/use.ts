// A front end which knows what the backend sends: unmodified laravel-echo and echo-vue, with the map of events that
// `cargo xtask types` writes. It is not run: that it type-checks is the test.
import Echo, { type Channel } from 'laravel-echo';
import { useEcho } from '@laravel/echo-vue';
import Pusher from 'pusher-js';
import type { Events as Sent } from './events';

/** Echo's `listen`, in which the name says what the callback gets. */
export function listen<K extends keyof Sent>(channel: Channel, name: K, callback: (event: Sent[K]) => void) {
  return channel.listen(name, callback);
}

// What echo-vue's composables look names up in.
declare global {
  interface Events extends Sent {}
}

const echo = new Echo({ broadcaster: 'reverb', Pusher, key: 'key', wsHost: 'localhost', wsPort: 8080 });

export function show(line: (text: string) => void) {
  listen(echo.private('orders.7'), 'OrderShipped', ({ order, tracking }) => {
    line(`${order.toFixed(0)}: ${tracking.toUpperCase()}`);
  });
  listen(echo.channel('greetings'), 'Greeting', ({ text }) => line(text.trim()));
  useEcho('orders.7', 'OrderShipped', ({ order, tracking }) => line(`${order.toFixed(0)}: ${tracking.trim()}`));
}

export function mistakes(line: (text: string) => void) {
  // @ts-expect-error No event is called so.
  listen(echo.channel('greetings'), 'Greetings', line);
  // @ts-expect-error It has no such field.
  listen(echo.private('orders.7'), 'OrderShipped', ({ parcel }) => line(parcel));
  // @ts-expect-error Nor for a composable.
  useEcho('orders.7', 'OrderShipped', ({ parcel }) => line(parcel));
  // @ts-expect-error A u64 is a number.
  listen(echo.private('orders.7'), 'OrderShipped', ({ order }) => line(order));
}
