<?php

// Laravel as Debian packages it, whose autoloaders are files to include.
error_reporting(E_ALL & ~E_DEPRECATED);
require_once 'Illuminate/autoload.php';
