<?php echo "Hello from Hythe, by PHP\n";
