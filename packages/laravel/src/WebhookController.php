<?php

namespace Clarim\Laravel;

use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Http\Request;
use Illuminate\Http\Response;

/** Dispatches an event for each event of a webhook request. */
class WebhookController
{
    public function __invoke(Request $request, Secrets $secrets, Dispatcher $events): Response
    {
        $body = $request->getContent();
        $key = (string) $request->header('X-Pusher-Key');
        if (! $secrets->accept($key, $body, (string) $request->header('X-Pusher-Signature'))) {
            return new Response('The signature is not that of an app in config/broadcasting.php.', 401);
        }
        foreach (json_decode($body, true)['events'] ?? [] as $data) {
            $event = $this->event($data);
            if ($event !== null) {
                $events->dispatch($event);
            }
        }

        return new Response('', 204);
    }

    private function event(array $data): ?object
    {
        $channel = $data['channel'];

        return match ($data['name']) {
            'channel_occupied' => new Events\ChannelOccupied($channel),
            'channel_vacated' => new Events\ChannelVacated($channel),
            'member_added' => new Events\MemberAdded($channel, $data['user_id']),
            'member_removed' => new Events\MemberRemoved($channel, $data['user_id']),
            'cache_miss' => new Events\CacheMissed($channel),
            'subscription_count' => new Events\SubscriptionCounted($channel, $data['subscription_count']),
            'client_event' => new Events\ClientEventSent(
                $channel, $data['event'], $data['data'], $data['socket_id'], $data['user_id'] ?? null,
            ),
            // Of a newer server.
            default => null,
        };
    }
}
