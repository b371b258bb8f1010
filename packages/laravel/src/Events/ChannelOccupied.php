<?php

namespace Clarim\Laravel\Events;

/** A channel has got its first subscriber. */
class ChannelOccupied
{
    public function __construct(public readonly string $channel)
    {
    }
}
