<?php

namespace Clarim\Laravel\Events;

/** The number of subscribers of a channel has changed. */
class SubscriptionCounted
{
    public function __construct(public readonly string $channel, public readonly int $count)
    {
    }
}
