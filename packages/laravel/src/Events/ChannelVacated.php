<?php

namespace Clarim\Laravel\Events;

/** A channel has lost its last subscriber. */
class ChannelVacated
{
    public function __construct(public readonly string $channel)
    {
    }
}
