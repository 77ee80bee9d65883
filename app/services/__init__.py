"""What can be done. Each public function is one transaction, run again where that is safe; none sees JSON."""
