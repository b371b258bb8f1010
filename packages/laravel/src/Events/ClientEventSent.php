<?php

namespace Clarim\Laravel\Events;

/** A client has sent an event to a channel. */
class ClientEventSent
{
    public function __construct(
        public readonly string $channel,
        public readonly string $event,
        public readonly mixed $data,
        public readonly string $socketId,
        public readonly ?string $userId,
    ) {
    }
}
